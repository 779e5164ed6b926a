/** One line that shows how far something is: redrawn in place on a terminal, a plain line now and then elsewhere. Written to stderr, so that stdout holds only the result. */
import { shorten } from './format.js';

export interface StatusLine {
  /** What is going on now; replaces the line before. */
  show(text: string): void;
  /** A line that stays. */
  print(text: string): void;
  /** Takes the live line away. */
  clear(): void;
}

const REDRAW_MS = 100;
/** Without a terminal, a log that is followed for hours should stay readable, and what is quick needs no line at all. */
const PLAIN_LINE_MS = 5_000;
const QUICK_MS = 2_000;

export interface LineStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export function openStatusLine({ quiet }: { quiet: boolean }, stream: LineStream = process.stderr): StatusLine {
  if (quiet) return { show() {}, print() {}, clear() {} };
  return stream.isTTY ? liveLine(stream) : plainLines(stream);
}

function liveLine(stream: LineStream): StatusLine {
  let text = '';
  let shown = false;
  let timer: NodeJS.Timeout | undefined;
  const draw = () => {
    timer = undefined;
    stream.write(`\r\x1b[2K${shorten(text, (stream.columns ?? 80) - 1)}`);
    shown = true;
  };
  const clear = () => {
    clearTimeout(timer);
    timer = undefined;
    if (shown) stream.write('\r\x1b[2K');
    shown = false;
  };
  return {
    show(next) {
      text = next;
      // The first at once, later ones at most ten a second, the last always.
      if (!shown) draw();
      else timer ??= setTimeout(draw, REDRAW_MS).unref();
    },
    print(line) {
      const wasShown = shown;
      clear();
      stream.write(`${line}\n`);
      if (wasShown) draw();
    },
    clear,
  };
}

function plainLines(stream: LineStream): StatusLine {
  let last = '';
  let lastMs = performance.now() - PLAIN_LINE_MS + QUICK_MS;
  return {
    show(text) {
      const nowMs = performance.now();
      if (text === last || nowMs - lastMs < PLAIN_LINE_MS) return;
      [last, lastMs] = [text, nowMs];
      stream.write(`${text}\n`);
    },
    print(line) {
      stream.write(`${line}\n`);
    },
    clear() {},
  };
}

/** `[######····]  60%` */
export function progressBar(fraction: number, width = 20): string {
  const part = Math.min(1, Math.max(0, Number.isFinite(fraction) ? fraction : 0));
  const full = Math.round(part * width);
  return `[${'#'.repeat(full)}${'.'.repeat(width - full)}] ${String(Math.floor(part * 100)).padStart(3)}%`;
}

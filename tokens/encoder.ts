/**
 * From segments of text to token IDs and a mask of the tokens that the loss counts, and what a cut-off leaves of them: the
 * trainer's rules (trainer/temper_trainer/tokens.py and data.py), token for token.
 */
import type { Segment, TaskKind } from '../schemas/trainerProtocol.js';
import { TokenizerUnsupported } from './tokenizerRules.js';
import type { ModelTokenizer } from './tokenizer.js';

export interface Encoded {
  ids: number[];
  /** Of each token: whether the loss counts it. */
  trained: boolean[];
}

/** Text that is encoded by one call. `literal`: control tokens in it are plain text. `continues`: it does not begin the example. */
interface Piece {
  text: string;
  trained: boolean;
  literal: boolean;
  continues: boolean;
}

/** @throws TokenizerUnsupported when the tokenizer names no EOS and the kind needs one */
export function makeEncoder(tokenizer: ModelTokenizer, kind: TaskKind): (segments: readonly Segment[]) => Encoded {
  const { bos, eos, addsBos, control } = tokenizer;
  if (eos === undefined && kind !== 'conversation') throw new TokenizerUnsupported('the tokenizer names no EOS token');
  // Tokenizers in SentencePiece's manner put a space before every text. Behind a newline, cut off again, they do not.
  const newline = tokenizer.encode('\n', true);
  const prependsSpace = !equal(tokenizer.encode('\na', true), [...newline, ...tokenizer.encode('a', true)]);

  return (segments) => {
    const encoded: Encoded = { ids: [], trained: [] };
    for (const piece of cut(segments)) append(encoded, encodePiece(piece), piece.trained);
    if (kind !== 'conversation') append(encoded, [eos!], true);
    if (!addsBos || (kind === 'conversation' && encoded.ids[0] === bos)) return encoded;
    return prepend(encoded, bos!);
  };

  function encodePiece({ text, literal, continues }: Piece): number[] {
    if (!prependsSpace || !continues) return tokenizer.encode(text, literal);
    const behind = tokenizer.encode(`\n${text}`, literal);
    if (equal(behind.slice(0, newline.length), newline)) return behind.slice(newline.length);
    return tokenizer.encode(text, literal); // the newline melted into the text
  }

  /** Neighbours with the same mask are one text. */
  function cut(segments: readonly Segment[]): Piece[] {
    const runs: { trained: boolean; spans: [text: string, literal: boolean][] }[] = [];
    for (const [text, trained, literal = false] of segments) {
      if (text === '') continue;
      const last = runs.at(-1);
      if (last?.trained === trained) last.spans.push([text, literal]);
      else runs.push({ trained, spans: [[text, literal]] });
    }
    const pieces: Piece[] = [];
    for (const { trained, spans } of runs)
      for (const [text, literal] of cutRun(spans)) pieces.push({ text, trained, literal, continues: pieces.length > 0 });
    return pieces;
  }

  /** One text when no control token would be read out of literal text, else span by span. */
  function cutRun(spans: [text: string, literal: boolean][]): [text: string, literal: boolean][] {
    const whole = spans.map(([text]) => text).join('');
    if (spans.length === 1 || spans.every(([, literal]) => literal)) return [[whole, spans[0]![1]]];
    if (control === undefined || !spans.some(([, literal]) => literal)) return [[whole, false]];
    const literalRanges: [start: number, end: number][] = [];
    let start = 0;
    for (const [text, literal] of spans) {
      if (literal) literalRanges.push([start, start + text.length]);
      start += text.length;
    }
    for (const match of whole.matchAll(control)) {
      const [from, to] = [match.index, match.index + match[0].length];
      if (literalRanges.some(([rangeStart, rangeEnd]) => from < rangeEnd && rangeStart < to)) return spans;
    }
    return [[whole, false]];
  }
}

/**
 * What training keeps of an example. A conversation loses its end. A prompt with one answer loses the beginning of the prompt
 * (but not BOS), whose end holds the question; only an answer that alone takes more than half the room loses its own end.
 * The first token is never trained: nothing predicts it.
 */
export function truncate(encoded: Encoded, cutoffLength: number, kind: TaskKind, bos: number | undefined): Encoded {
  const kept = shorten(encoded, cutoffLength, kind, bos);
  return { ids: kept.ids, trained: kept.trained.map((trained, index) => trained && index > 0) };
}

function shorten({ ids, trained }: Encoded, cutoffLength: number, kind: TaskKind, bos: number | undefined): Encoded {
  if (ids.length <= cutoffLength) return { ids, trained };
  const prompt = trained.indexOf(true);
  if (kind === 'conversation' || prompt < 0) return { ids: ids.slice(0, cutoffLength), trained: trained.slice(0, cutoffLength) };
  const answerKept = Math.min(ids.length - prompt, Math.max(cutoffLength - prompt, Math.floor(cutoffLength / 2)));
  const keptPrompt = shortenPrompt(ids.slice(0, prompt), cutoffLength - answerKept, bos);
  return {
    ids: [...keptPrompt, ...ids.slice(prompt, prompt + answerKept)],
    trained: [...keptPrompt.map(() => false), ...trained.slice(prompt, prompt + answerKept)],
  };
}

/** BOS, where there is one, and the end of the prompt. */
function shortenPrompt(prompt: number[], room: number, bos: number | undefined): number[] {
  if (prompt.length <= room) return prompt;
  const head = prompt[0] === bos ? prompt.slice(0, Math.min(1, room)) : [];
  return [...head, ...prompt.slice(prompt.length - room + head.length)];
}

function append({ ids, trained }: Encoded, more: number[], moreTrained: boolean): void {
  for (const id of more) {
    ids.push(id);
    trained.push(moreTrained);
  }
}

function prepend({ ids, trained }: Encoded, id: number): Encoded {
  return { ids: [id, ...ids], trained: [false, ...trained] };
}

function equal(a: number[], b: number[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index]);
}

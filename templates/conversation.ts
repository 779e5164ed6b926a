/**
 * Renders conversations with a chat template and finds the text that is trained: the assistant's answers.
 *
 * Where the answers are, the template says in one of three ways:
 * - it prints `unk_token` before and after each (the reference's way, with `mode` set to `train`). A nonce stands for the token, so that
 *   no row's text can pass for it;
 * - it puts them between `{% generation %}` and `{% endgeneration %}` (the way of `transformers`);
 * - or it says nothing. Then an answer is what the conversation up to it adds to the prompt before it, where the rendering of both is a
 *   beginning of the whole: checked for every answer of every row. An answer that the whole renders otherwise (a template that takes the
 *   reasoning out of earlier turns, say) is context and not trained, as no inference would give that text; the row is warned about.
 *   A row without any answer left is refused.
 */
import { randomBytes } from 'node:crypto';
import type { Segment } from '../schemas/trainerProtocol.js';
import { makeControlTokenGuard, type Restore } from './controlTokens.js';
import { TemplateError } from './jinja/errors.js';
import { compileTemplate, type Template } from './jinja/template.js';
import { UNKNOWN_TURN, checkContent } from './contentChecks.js';
import type { ProblemCode, WarningCode } from './problems.js';
import { normalizeMessage } from './messages.js';

export type ChatSettings = {
  /** Jinja as `transformers` has it. */
  template: string;
  /** The tokenizer's own, empty where it has none. */
  bosToken: string;
  eosToken: string;
  /** All control tokens of the tokenizer, for telling them from text that looks like them. */
  specialTokens: string[];
  /** What `strftime_now` says, RFC 3339. */
  now: string;
};

export type RowWarning = { code: WarningCode; found: string };
/** A rendered row, or why there is none. */
export type RenderedRow =
  { segments: Segment[]; label?: string; warnings: RowWarning[] } | { problem: { code: ProblemCode; found: string; field?: string } };

export type Message = { role: string; content?: unknown; weight?: unknown } & Record<string, unknown>;
/** A piece of the rendered text. An answer has a `turn`: which of the assistant messages it is. */
export type Piece = { text: string; trained: boolean; turn?: number };

export type ConversationRenderer = (row: Record<string, unknown>) => RenderedRow;

/** Compiles the template; throws TemplateError. What it returns never throws on a row. */
export function makeConversationRenderer(chat: ChatSettings, template: Template = compileTemplate(chat.template)): ConversationRenderer {
  const guard = makeControlTokenGuard(chat.specialTokens, chat.template);
  const findPieces = template.names.has('unk_token') ? renderMarked : template.hasGeneration ? renderGeneration : renderPrefixes;
  const ends = [...chat.specialTokens, chat.eosToken].filter((token) => token !== '');
  const rendering: Rendering = { template, chat, ends, now: new Date(chat.now), marker: makeMarker() };
  return (row) => {
    const said = row['messages'] ?? asConversation(row);
    if (!isConversation(said)) return problem('MESSAGES_MISSING', 'no messages');
    const hidden = guard.hide({
      messages: (said.some(hasParts) ? said.map(joinParts) : said).map(normalizeMessage),
      tools: row['tools'] ?? null,
    });
    const { messages, tools } = hidden.value as { messages: Message[]; tools: unknown };
    try {
      const pieces = findPieces(rendering, messages, tools);
      if ('problem' in pieces) return pieces;
      return finish(pieces, messages, tools, ends, hidden);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      const place = error.line === undefined ? '' : `template line ${error.line}, column ${error.column}: `;
      return problem(error.code, place + error.message);
    }
  };
}

type Rendering = { template: Template; chat: ChatSettings; ends: string[]; now: Date; marker: string };
export type Failure = { problem: { code: ProblemCode; found: string } };

/** A text that no row can know. Control characters and digits: no filter of a template changes it, and it makes no text wider in memory. */
function makeMarker(): string {
  return `\x01${BigInt(`0x${randomBytes(12).toString('hex')}`)}\x02`;
}

function problem(code: ProblemCode, found: string): Failure {
  return { problem: { code, found } };
}

function isConversation(messages: unknown): messages is Message[] {
  return (
    Array.isArray(messages) &&
    messages.length > 0 &&
    messages.every((message) => typeof message === 'object' && message !== null && typeof (message as Message).role === 'string')
  );
}

/** A row of `prompt` and `completion` is a question and its answer. */
function asConversation({ prompt, completion }: Record<string, unknown>): Message[] | undefined {
  if (typeof prompt !== 'string' || typeof completion !== 'string') return undefined;
  return [
    { role: 'user', content: prompt },
    { role: 'assistant', content: completion },
  ];
}

function hasParts({ content }: Message): boolean {
  return typeof content === 'object' && content !== null;
}

/** Content given as a list of text parts becomes the text, as templates for text expect. */
function joinParts(message: Message): Message {
  const { content } = message;
  if (!Array.isArray(content) || content.length === 0) return message;
  const texts = content.map((part: unknown) => (part as { text?: unknown } | null)?.text);
  return texts.every((text) => typeof text === 'string') ? { ...message, content: texts.join('') } : message;
}

type Mode = { add_generation_prompt?: boolean; unk_token?: string; mode?: string };

function render({ template, chat, now }: Rendering, messages: Message[], tools: unknown, mode: Mode) {
  // Every name in every mode, so that the objects are alike: generated code reads them faster.
  const context = {
    messages,
    tools,
    documents: null,
    add_generation_prompt: mode.add_generation_prompt ?? false,
    bos_token: chat.bosToken,
    eos_token: chat.eosToken,
    unk_token: mode.unk_token,
    mode: mode.mode,
  };
  return template.render(context, now);
}

function renderMarked(rendering: Rendering, messages: Message[], tools: unknown): Piece[] | Failure {
  const { marker } = rendering;
  const parts = render(rendering, messages, tools, { unk_token: marker, mode: 'train' }).text.split(marker);
  if (parts.length % 2 === 0) return problem('MARKERS_ODD', `${parts.length - 1} markers`);
  return assignTurns(
    parts.map((text, index): Piece => (index % 2 === 1 ? { text, trained: true, turn: (index - 1) / 2 } : { text, trained: false })),
    messages,
  );
}

function renderGeneration(rendering: Rendering, messages: Message[], tools: unknown): Piece[] | Failure {
  const { text, spans, hasLostSpan } = render(rendering, messages, tools, {});
  if (hasLostSpan) return problem('SPANS_LOST', 'a {% generation %} in a macro or a captured block');
  const pieces: Piece[] = [];
  let at = 0;
  spans.sort((a, b) => a[0] - b[0]);
  spans.forEach(([start, end], turn) => {
    if (end <= at) return;
    pieces.push(
      { text: text.slice(at, Math.max(at, start)), trained: false },
      { text: text.slice(Math.max(at, start), end), trained: true, turn },
    );
    at = end;
  });
  return assignTurns([...pieces, { text: text.slice(at), trained: false }], messages);
}

function renderPrefixes(rendering: Rendering, messages: Message[], tools: unknown): Piece[] | Failure {
  const whole = render(rendering, messages, tools, {}).text;
  const pieces: Piece[] = [];
  let at = 0;
  let turn = -1;
  for (const [index, message] of messages.entries()) {
    if (message.role !== 'assistant') continue;
    turn++;
    // What is not trained need not be found, which saves two renderings.
    if (message.weight === 0) continue;
    const isLast = index === messages.length - 1;
    const before = render(rendering, messages.slice(0, index), tools, { add_generation_prompt: true }).text;
    const after = isLast ? whole : render(rendering, messages.slice(0, index + 1), tools, {}).text;
    if (!whole.startsWith(before) || !whole.startsWith(after) || before.length < at || after.length < before.length) continue;
    const end = before.length + answerLength(after.slice(before.length), rendering.ends);
    pieces.push({ text: whole.slice(at, before.length), trained: false }, { text: whole.slice(before.length, end), trained: true, turn });
    at = end;
  }
  if (pieces.length === 0 && turn >= 0) return problem('SPANS_UNKNOWN', 'no answer is rendered as it is at inference');
  return [...pieces, { text: whole.slice(at), trained: false }];
}

/** An answer ends with its control token; the newline that a template prints after it is the template's. */
function answerLength(answer: string, ends: string[]): number {
  const trimmed = answer.trimEnd();
  return ends.some((token) => trimmed.endsWith(token)) ? trimmed.length : answer.length;
}

/** Gives the answers that the template marked to the assistant messages, and takes those with weight 0 out of the training. */
function assignTurns(pieces: Piece[], messages: Message[]): Piece[] | Failure {
  const answers = messages.filter((message) => message.role === 'assistant');
  const spans = pieces.filter((piece) => piece.turn !== undefined);
  if (spans.length !== answers.length) {
    if (answers.some((message) => message.weight === 0)) {
      return problem('MARKERS_UNCOUNTED', `${spans.length} trained spans for ${answers.length} assistant messages`);
    }
    for (const span of spans) span.turn = UNKNOWN_TURN;
  }
  for (const span of spans) if (answers[span.turn!]?.weight === 0) span.trained = false;
  return pieces;
}

function finish(
  pieces: Piece[],
  messages: Message[],
  tools: unknown,
  ends: string[],
  { found, restore }: { found: string[]; restore: Restore },
): RenderedRow {
  let lastTrained: string | undefined;
  let hasContext = false;
  for (const { text, trained } of pieces) {
    if (trained && text !== '') lastTrained = text;
    else if (text.trim() !== '') hasContext = true;
  }
  if (lastTrained === undefined) return problem('NOTHING_TRAINED', `${messages.length} messages`);
  if (!hasContext) return problem('EVERYTHING_TRAINED', pieces[0]!.text);
  const content = checkContent(pieces, messages, tools);
  if ('problem' in content) return content;
  const { warnings } = content;
  if (found.length > 0) warnings.push({ code: 'CONTROL_TOKENS', found: found.join(' ') });
  const end = lastTrained.trimEnd();
  if (ends.length > 0 && !ends.some((token) => end.endsWith(token))) warnings.push({ code: 'END_NOT_TRAINED', found: end.slice(-40) });
  return { segments: mergeSegments(pieces, restore), warnings };
}

/** Segments of the pieces, neighbours of a kind made one. */
function mergeSegments(pieces: Piece[], restore: Restore): Segment[] {
  const merged: Segment[] = [];
  for (const { text, trained } of pieces) {
    if (text === '') continue;
    for (const segment of restore(text, trained)) {
      const last = merged.at(-1);
      if (last && last[1] === segment[1] && !last[2] && !segment[2]) last[0] += segment[0];
      else merged.push(segment);
    }
  }
  return merged;
}

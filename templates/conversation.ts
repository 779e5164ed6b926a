/**
 * Renders conversations with a chat template and finds the text that is trained: the assistant's answers.
 *
 * Where the answers are, the template says in one of three ways:
 * - it prints `unk_token` before and after each (the reference's way, with `mode` set to `train`). A nonce stands for the token, so that
 *   no row's text can pass for it;
 * - it puts them between `{% generation %}` and `{% endgeneration %}` (the way of `transformers`);
 * - or it says nothing. Then each answer is what the conversation up to it adds to the prompt before it. That holds only if the rendering
 *   of every such beginning is a beginning of the whole, which is checked for every row.
 */
import { randomBytes } from 'node:crypto';
import type { Segment } from '../schemas/trainerProtocol.js';
import { makeControlTokenGuard, type Restore } from './controlTokens.js';
import { TemplateError } from './jinja/errors.js';
import { compileTemplate, type Template } from './jinja/template.js';
import type { ProblemCode, WarningCode } from './problems.js';

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

/** A rendered row, or why there is none. */
export type RenderedRow =
  | { segments: Segment[]; label?: string; warnings: { code: WarningCode; found: string }[] }
  | { problem: { code: ProblemCode; found: string; field?: string } };

type Message = { role: string; content?: unknown; weight?: unknown } & Record<string, unknown>;
/** A piece of the rendered text; `turn` counts the assistant messages. */
type Piece = { text: string; trained: boolean; turn?: number };

/** Compiles the template; throws TemplateError. What it returns never throws on a row. */
export function makeConversationRenderer(chat: ChatSettings): (row: Record<string, unknown>) => RenderedRow {
  const template = compileTemplate(chat.template);
  const guard = makeControlTokenGuard(chat.specialTokens, chat.template);
  const findPieces = template.names.has('unk_token') ? renderMarked : template.hasGeneration ? renderGeneration : renderPrefixes;
  const ends = [...chat.specialTokens, chat.eosToken].filter((token) => token !== '');
  const rendering: Rendering = { template, chat, ends, now: new Date(chat.now), nonce: randomBytes(12).toString('hex'), rows: 0 };
  return (row) => {
    const said = row['messages'] ?? asConversation(row);
    if (!isConversation(said)) return problem('MESSAGES_MISSING', 'no messages');
    const hidden = guard.hide({ messages: said.map(joinParts), tools: row['tools'] ?? null });
    const { messages, tools } = hidden.value as { messages: Message[]; tools: unknown };
    try {
      const pieces = findPieces(rendering, messages, tools);
      if ('problem' in pieces) return pieces;
      return finish(pieces, messages, ends, hidden);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      const place = error.line === undefined ? '' : `template line ${error.line}, column ${error.column}: `;
      return problem(error.code, place + error.message);
    }
  };
}

type Rendering = { template: Template; chat: ChatSettings; ends: string[]; now: Date; nonce: string; rows: number };
type Failure = { problem: { code: ProblemCode; found: string } };

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

/** Content given as a list of text parts becomes the text, as templates for text expect. */
function joinParts(message: Message): Message {
  const { content } = message;
  if (!Array.isArray(content) || content.length === 0) return message;
  const texts = content.map((part: unknown) => (part as { text?: unknown } | null)?.text);
  return texts.every((text) => typeof text === 'string') ? { ...message, content: texts.join('') } : message;
}

function render({ template, chat, now }: Rendering, messages: Message[], tools: unknown, more: Record<string, unknown>) {
  const context = { messages, tools, documents: null, add_generation_prompt: false, bos_token: chat.bosToken, eos_token: chat.eosToken };
  return template.render({ ...context, ...more }, now);
}

function renderMarked(rendering: Rendering, messages: Message[], tools: unknown): Piece[] | Failure {
  const marker = `\ue000${rendering.nonce}${++rendering.rows}\ue001`;
  const parts = render(rendering, messages, tools, { unk_token: marker, mode: 'train' }).text.split(marker);
  if (parts.length % 2 === 0) return problem('MARKERS_ODD', `${parts.length - 1} markers`);
  return weigh(
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
  return weigh([...pieces, { text: text.slice(at), trained: false }], messages);
}

function renderPrefixes(rendering: Rendering, messages: Message[], tools: unknown): Piece[] | Failure {
  const whole = render(rendering, messages, tools, {}).text;
  const pieces: Piece[] = [];
  let at = 0;
  let turn = 0;
  for (const [index, message] of messages.entries()) {
    if (message.role !== 'assistant') continue;
    const isLast = index === messages.length - 1;
    const before = render(rendering, messages.slice(0, index), tools, { add_generation_prompt: true }).text;
    const after = isLast ? whole : render(rendering, messages.slice(0, index + 1), tools, {}).text;
    if (!whole.startsWith(before) || !whole.startsWith(after) || before.length < at || after.length < before.length) {
      return problem('SPANS_UNKNOWN', `the conversation up to message ${index + 1} is rendered otherwise than in the whole`);
    }
    const end = before.length + answerLength(after.slice(before.length), rendering.ends);
    pieces.push(
      { text: whole.slice(at, before.length), trained: false },
      { text: whole.slice(before.length, end), trained: true, turn: turn++ },
    );
    at = end;
  }
  return weigh([...pieces, { text: whole.slice(at), trained: false }], messages);
}

/** An answer ends with its control token; the newline that a template prints after it is the template's. */
function answerLength(answer: string, ends: string[]): number {
  const trimmed = answer.trimEnd();
  return ends.some((token) => trimmed.endsWith(token)) ? trimmed.length : answer.length;
}

/** Takes the messages with weight 0 out of the training. */
function weigh(pieces: Piece[], messages: Message[]): Piece[] | Failure {
  const answers = messages.filter((message) => message.role === 'assistant');
  if (!answers.some((message) => message.weight === 0)) return pieces;
  const spans = pieces.filter((piece) => piece.turn !== undefined).length;
  if (spans !== answers.length) return problem('MARKERS_UNCOUNTED', `${spans} trained spans for ${answers.length} assistant messages`);
  return pieces.map((piece) => (piece.turn !== undefined && answers[piece.turn]!.weight === 0 ? { ...piece, trained: false } : piece));
}

function finish(
  pieces: Piece[],
  messages: Message[],
  ends: string[],
  { found, restore }: { found: string[]; restore: Restore },
): RenderedRow {
  const isTrained = (piece: Piece): boolean => piece.trained && piece.text !== '';
  if (!pieces.some(isTrained)) return problem('NOTHING_TRAINED', `${messages.length} messages`);
  if (pieces.every((piece) => isTrained(piece) || piece.text.trim() === '')) return problem('EVERYTHING_TRAINED', pieces[0]!.text);

  const warnings: { code: WarningCode; found: string }[] = [];
  const answers = pieces.filter((piece) => piece.turn !== undefined).map((piece) => piece.text);
  const dropped = findDropped(messages, (message) => message.role === 'assistant', answers.join('\0'));
  if (dropped) return problem('CONTENT_DROPPED', dropped);
  const droppedPrompt = findDropped(messages, (message) => message.role !== 'assistant', pieces.map((piece) => piece.text).join(''));
  if (droppedPrompt) warnings.push({ code: 'PROMPT_DROPPED', found: droppedPrompt });
  if (found.length > 0) warnings.push({ code: 'CONTROL_TOKENS', found: found.join(' ') });
  const last = pieces.filter(isTrained).at(-1)!.text.trimEnd();
  if (ends.length > 0 && !ends.some((token) => last.endsWith(token))) warnings.push({ code: 'END_NOT_TRAINED', found: last.slice(-40) });

  const segments = mergeSegments(pieces.flatMap((piece) => restore(piece.text, piece.trained)));
  return { segments, warnings };
}

/** The start of the first message whose text is not in the rendering, in order. Spaces around it are the template's to trim. */
function findDropped(messages: Message[], isMeant: (message: Message) => boolean, text: string): string | undefined {
  let at = 0;
  for (const message of messages) {
    if (!isMeant(message) || typeof message.content !== 'string') continue;
    const content = message.content.trim();
    const position = text.indexOf(content, at);
    if (position < 0) return `${message.role}: ${content.slice(0, 60)}`;
    at = position + content.length;
  }
  return undefined;
}

function mergeSegments(segments: Segment[]): Segment[] {
  const merged: Segment[] = [];
  for (const segment of segments) {
    const last = merged.at(-1);
    if (last && last[1] === segment[1] && !last[2] && !segment[2]) merged[merged.length - 1] = [last[0] + segment[0], segment[1]];
    else merged.push(segment);
  }
  return merged;
}

/** Whether a rendering says what its conversation says: every answer where it is trained, and nothing of the prompt left out. */
import type { Failure, Message, Piece, RowWarning } from './conversation.js';

/** Spaces around a message are the template's to trim. */
export function checkContent(pieces: Piece[], messages: Message[], tools: unknown): { warnings: RowWarning[] } | Failure {
  const warnings: RowWarning[] = [];
  const spans = pieces.filter((piece) => piece.turn !== undefined);
  // Spans whose turn is not known are searched together.
  const unknown = spans.length > 0 && spans[0]!.turn === UNKNOWN_TURN ? spans.map((piece) => piece.text).join('\0') : undefined;
  let next = 0;
  let turn = -1;
  const prompt = new PromptSearch(pieces);
  let untrained: string | undefined;
  let respaced: string | undefined;
  let dropped: string | undefined;
  for (const message of messages) {
    const content = typeof message.content === 'string' ? message.content.trim() : '';
    if (message.role !== 'assistant') {
      if (dropped === undefined && !prompt.find(content)) dropped = excerpt(message, content);
      continue;
    }
    turn++;
    const span = unknown ?? (spans[next]?.turn === turn ? spans[next++]!.text : undefined);
    if (span === undefined || (unknown !== undefined && !span.includes(content) && joined(pieces).includes(content))) {
      if (message.weight !== 0) untrained ??= excerpt(message, content);
      continue;
    }
    if (!span.includes(content)) {
      if (!withoutSpaces(span).includes(withoutSpaces(content))) return failure(excerpt(message, content));
      respaced ??= excerpt(message, content);
    }
    const lost = findLostName(message['tool_calls'], span);
    if (lost !== undefined) return failure(`assistant: the call of ${lost}`);
  }
  if (untrained !== undefined) warnings.push({ code: 'TURNS_NOT_TRAINED', found: untrained });
  if (respaced !== undefined) warnings.push({ code: 'SPACES_CHANGED', found: respaced });
  if (dropped !== undefined) warnings.push({ code: 'PROMPT_DROPPED', found: dropped });
  const lostTool = tools === null ? undefined : findLostName(tools, joined(pieces));
  if (lostTool !== undefined) warnings.push({ code: 'TOOLS_DROPPED', found: lostTool });
  return { warnings };
}

/** The turn of an answer's piece when there are not as many of them as there are answers. */
export const UNKNOWN_TURN = -1;

/** Looks for one text after the other, each behind the one before, in pieces: joining them would cost more than the search. */
class PromptSearch {
  private index = 0;
  private at = 0;
  constructor(private readonly pieces: Piece[]) {}

  find(text: string): boolean {
    let at = this.at;
    for (let index = this.index; index < this.pieces.length; index++, at = 0) {
      const position = this.pieces[index]!.text.indexOf(text, at);
      if (position < 0) continue;
      this.index = index;
      this.at = position + text.length;
      return true;
    }
    // A template may mark a part of what a user says.
    return joined(this.pieces).includes(text);
  }
}

function joined(pieces: Piece[]): string {
  return pieces.map((piece) => piece.text).join('');
}

function failure(found: string): Failure {
  return { problem: { code: 'CONTENT_DROPPED', found } };
}

function excerpt({ role }: Message, content: string): string {
  return `${role}: ${content.slice(0, 60)}`;
}

function withoutSpaces(text: string): string {
  return text.replace(/\s+/g, '');
}

type Named = { name?: unknown; function?: { name?: unknown } } | null;

/** The name of the first function of a list that is not printed. */
function findLostName(list: unknown, text: string): string | undefined {
  if (!Array.isArray(list)) return undefined;
  for (const entry of list as Named[]) {
    const name = entry?.function?.name ?? entry?.name;
    // Other names may be printed escaped.
    if (typeof name === 'string' && /^[\w.-]+$/.test(name) && !text.includes(name)) return name;
  }
  return undefined;
}

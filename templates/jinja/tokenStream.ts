/** The parser's view of the tokens: look, take, expect, and complain with a place. */
import { TemplateError, placeError } from './errors.js';
import type { Token, TokenType } from './lexer.js';
import { MAX_NESTING } from './limits.js';

export class TokenStream {
  private position = 0;
  private depth = 0;

  constructor(
    private readonly tokens: Token[],
    private readonly source: string,
  ) {}

  get current(): Token {
    return this.tokens[this.position]!;
  }

  /** The token after the current one. */
  get following(): Token {
    return this.tokens[Math.min(this.position + 1, this.tokens.length - 1)]!;
  }

  take(): Token {
    const token = this.current;
    if (token.type !== 'end') this.position++;
    return token;
  }

  is(type: TokenType, value?: string): boolean {
    return this.current.type === type && (value === undefined || this.current.value === value);
  }

  skip(type: TokenType, value?: string): boolean {
    if (!this.is(type, value)) return false;
    this.take();
    return true;
  }

  expect(type: TokenType, value?: string): Token {
    if (!this.is(type, value))
      this.fail(`expected ${value === undefined ? TYPE_NAMES[type] : `'${value}'`}, got ${describe(this.current)}`);
    return this.take();
  }

  unexpected(): never {
    this.fail(`unexpected ${describe(this.current)}`);
  }

  fail(message: string, at = this.current.at): never {
    throw placeError(new TemplateError('TEMPLATE_SYNTAX', message), this.source, at);
  }

  /** Runs one level of nesting deeper; a template that goes on and on is refused before the stack is. */
  nest<T>(parse: () => T): T {
    if (++this.depth > MAX_NESTING) {
      const error = new TemplateError('TEMPLATE_LIMIT', `more than ${MAX_NESTING} levels of nesting`);
      throw placeError(error, this.source, this.current.at);
    }
    const result = parse();
    this.depth--;
    return result;
  }
}

const TYPE_NAMES: Record<TokenType, string> = {
  text: 'text',
  blockBegin: "'{%'",
  blockEnd: "'%}'",
  printBegin: "'{{'",
  printEnd: "'}}'",
  name: 'a name',
  string: 'a string',
  integer: 'an integer',
  float: 'a number',
  operator: 'an operator',
  end: 'the end of the template',
};

function describe(token: Token): string {
  if (token.type === 'name' || token.type === 'operator') return `'${token.value}'`;
  return TYPE_NAMES[token.type];
}

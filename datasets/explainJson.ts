/**
 * A strict reader of one line of JSON that says what is wrong with it and where. It is slow beside `JSON.parse` and runs
 * only on lines that `checkJson.ts` suspects.
 *
 * Stricter than `JSON.parse`: the line is an object, no key twice, depth at most 64, numbers finite, no unpaired surrogate
 * (tokenizers refuse them), no NUL (databases refuse it).
 */
import { excerpt, type Finding, type ProblemCode } from './problems.js';

/** Objects and lists inside each other. JSON.stringify and other readers overflow at a few thousand. */
export const MAX_DEPTH = 64;

/** Values in a row: lists and objects that take 3 bytes of text take 56 of memory. A conversation of 2,048 messages has 6,000. */
export const MAX_VALUES = 250_000;

const NUMBER_LIKE = /-?(?:Infinity|NaN|[0-9.eE+-]*)/y;

const JQ_HINT = "write one object on each line: jq -c '.[]' FILE for a list, jq -c . FILE for indented JSON";

/** What to do about a character that never begins a part of JSON. */
const FIXES: Record<string, string> = {
  "'": 'JSON has no single quotes: write the rows with json.dumps or JSON.stringify',
  '/': 'JSON has no comments: remove it',
  '#': 'JSON has no comments: remove it',
  '\ufeff': 'remove the byte order mark: files were probably joined',
};

/** The first problem of the line, or undefined when there is none. */
export function explainJson(text: string): Finding | undefined {
  const reader = new Reader(text);
  try {
    reader.readLine();
    return undefined;
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    return problem as Finding;
  }
}

class Reader {
  private index = 0;
  private values = 0;
  private readonly path: (string | number)[] = [];

  constructor(private readonly text: string) {}

  readLine(): void {
    this.skipSpace();
    const start = this.index;
    const first = this.text[start];
    if (first === undefined) this.failJson('an empty line', 'a JSON object', 'remove the line');
    this.readValue(0);
    if (first !== '{') {
      const kind = first === '[' ? 'a list' : excerpt(this.text.slice(start, this.index));
      this.fail(
        'E_TOP_LEVEL',
        start,
        kind,
        'a JSON object: {"field": "text", …}',
        first === '[' ? JQ_HINT : 'put the value into an object',
      );
    }
    const afterValue = this.index;
    this.skipSpace();
    if (this.index === this.text.length) return;
    if (this.text[this.index] === '{') {
      const isBareReturn = this.text.slice(afterValue, this.index).includes('\r');
      const fix = isBareReturn
        ? 'end lines with \\n or \\r\\n: a bare carriage return does not end one'
        : 'put each object on its own line';
      this.failJson('a second object on the line', 'the end of the line', fix);
    }
    this.failHere('the end of the line', 'remove what follows the object');
  }

  private readValue(depth: number): void {
    this.skipSpace();
    if (++this.values > MAX_VALUES) {
      this.fail(
        'E_TOO_MANY_VALUES',
        this.index,
        `more than ${MAX_VALUES} values`,
        `at most ${MAX_VALUES} values`,
        'split the row, or write long lists as text',
      );
    }
    const character = this.text[this.index];
    if (character === '{') this.readObject(depth + 1);
    else if (character === '[') this.readList(depth + 1);
    else if (character === '"') this.readString();
    else if (character === '-' || (character !== undefined && character >= '0' && character <= '9')) this.readNumber();
    else this.readWord();
  }

  private readObject(depth: number): void {
    this.checkDepth(depth);
    this.index++;
    const keys = new Set<string>();
    this.skipSpace();
    if (this.skip('}')) return;
    for (;;) {
      this.skipSpace();
      const keyStart = this.index;
      if (this.text[keyStart] === '}' && keys.size > 0) this.failJson('a comma before }', 'another key', 'remove the trailing comma');
      if (this.text[keyStart] !== '"') this.failHere('a key in double quotes', 'write "key": value');
      const key = this.readString();
      this.path.push(key);
      if (keys.has(key)) this.fail('E_DUP_KEY', keyStart, excerpt(JSON.stringify(key)), 'each key once', 'remove or rename one of the two');
      keys.add(key);
      this.skipSpace();
      if (!this.skip(':')) this.failHere('a colon', 'write "key": value');
      this.readValue(depth);
      this.path.pop();
      this.skipSpace();
      if (this.skip('}')) return;
      if (!this.skip(',')) this.failHere('a comma or }', 'check for a missing comma, quote or brace');
    }
  }

  private readList(depth: number): void {
    this.checkDepth(depth);
    this.index++;
    this.skipSpace();
    if (this.skip(']')) return;
    for (let item = 0; ; item++) {
      this.path.push(item);
      this.skipSpace();
      if (this.text[this.index] === ']') this.failJson('a comma before ]', 'another value', 'remove the trailing comma');
      this.readValue(depth);
      this.path.pop();
      this.skipSpace();
      if (this.skip(']')) return;
      if (!this.skip(',')) this.failHere('a comma or ]', 'check for a missing comma, quote or bracket');
    }
  }

  /** Returns the string's value. */
  private readString(): string {
    const start = this.index++;
    for (;;) {
      const code = this.text.charCodeAt(this.index);
      if (Number.isNaN(code))
        this.failHere('a closing double quote', 'check for a missing quote, or a line break inside the string (write \\n)');
      if (code === 34) break;
      if (code === 92) this.readEscape();
      else if (code === 0) this.fail('E_NUL', this.index, 'a NUL byte', 'text without NUL', 'remove the character');
      else if (code < 32) this.failHere('no raw control character in a string', 'escape it: \\t for a tab, \\n for a line break');
      else this.index++;
    }
    this.index++;
    return JSON.parse(this.text.slice(start, this.index)) as string;
  }

  private readEscape(): void {
    const start = this.index;
    const kind = this.text[start + 1];
    if (kind !== 'u') {
      if (kind !== undefined && !'"\\/bfnrt'.includes(kind)) {
        this.failJson(
          excerpt(this.text.slice(start, start + 2)),
          'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u',
          'write \\\\ for a backslash',
        );
      }
      this.index += kind === undefined ? 1 : 2;
      return;
    }
    const unit = this.readUnit();
    if (unit === 0) this.fail('E_NUL', start, '\\u0000', 'text without NUL', 'remove the character');
    if (unit < 0xd800 || unit > 0xdfff) return;
    const isPair = unit < 0xdc00 && this.text.startsWith('\\u', this.index);
    const second = isPair ? this.readUnit() : 0;
    if (second < 0xdc00 || second > 0xdfff) {
      const found = excerpt(this.text.slice(start, start + 6));
      this.fail(
        'E_SURROGATE',
        start,
        found,
        'a whole character',
        'text was probably cut inside an emoji: remove the escape or write both halves',
      );
    }
  }

  private readUnit(): number {
    const digits = this.text.slice(this.index + 2, this.index + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) {
      if (this.index + 6 > this.text.length) {
        this.index = this.text.length;
        this.failHere('four hex digits after \\u', 'complete the escape');
      }
      this.failJson(excerpt(`\\u${digits}`), 'four hex digits after \\u', 'write \\\\ for a backslash');
    }
    this.index += 6;
    return Number.parseInt(digits, 16);
  }

  private readNumber(): void {
    const start = this.index;
    NUMBER_LIKE.lastIndex = start;
    const number = NUMBER_LIKE.exec(this.text)?.[0] ?? '';
    if (number.endsWith('Infinity') || number.endsWith('NaN')) this.failNotANumber(start, number);
    const end = start + number.length;
    if (!/^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(number)) {
      if (end === this.text.length && /^-?(?:(?:0|[1-9][0-9]*)(?:\.|(?:\.[0-9]+)?[eE][+-]?))?$/.test(number)) {
        this.index = end;
        this.failHere('the rest of the number', 'complete the row');
      }
      const fix = /^-?0[0-9]/.test(number)
        ? 'remove the leading zero, or put the value in double quotes'
        : 'write it as -12.5e3, or put it in double quotes';
      this.failJson(excerpt(number), 'a number as JSON writes it', fix);
    }
    if (!Number.isFinite(Number(number))) {
      this.fail('E_NUMBER', start, excerpt(number), 'a number below 1.8e308', 'put it in double quotes if it is text, or write null');
    }
    this.index = end;
  }

  private readWord(): void {
    const start = this.index;
    const word = /^[A-Za-z_]*/.exec(this.text.slice(start, start + 32))?.[0] ?? '';
    if (word === 'true' || word === 'false' || word === 'null') {
      this.index += word.length;
      return;
    }
    if (word === 'NaN' || word === 'Infinity') this.failNotANumber(start, word);
    if (word === 'None' || word === 'True' || word === 'False') {
      this.failJson(word, 'null, true or false', 'the rows look like Python: write them with json.dumps');
    }
    const atEnd = start + word.length === this.text.length && ['true', 'false', 'null'].some((literal) => literal.startsWith(word));
    if (atEnd) this.index = this.text.length;
    const isEmpty = ',}]'.includes(this.text[this.index] ?? 'x');
    this.failHere('a value', isEmpty ? 'remove the extra comma or write the missing value' : 'put text in double quotes');
  }

  private failNotANumber(start: number, word: string): never {
    this.index = start;
    this.failJson(excerpt(word), 'a number', `JSON has no ${word.replace('-', '')}: write null or leave the field out`);
  }

  private checkDepth(depth: number): void {
    if (depth <= MAX_DEPTH) return;
    this.fail(
      'E_DEPTH',
      this.index,
      `more than ${MAX_DEPTH} levels`,
      `at most ${MAX_DEPTH} levels of objects and lists`,
      'flatten the row',
    );
  }

  private skipSpace(): void {
    while (' \t\r\n'.includes(this.text[this.index] ?? 'x')) this.index++;
  }

  private skip(character: string): boolean {
    if (this.text[this.index] !== character) return false;
    this.index++;
    return true;
  }

  /** Fails with what stands at the current position as the thing found. */
  private failHere(expected: string, fix: string): never {
    const atEnd = this.index >= this.text.length;
    if (!atEnd) {
      const rest = this.text.slice(this.index, this.index + 20);
      this.failJson(excerpt(rest), expected, FIXES[rest[0] ?? ''] ?? fix);
    }
    const isDocument = this.text.trimStart()[0] === '[' || this.text.trim() === '{';
    if (isDocument) this.fail('E_TOP_LEVEL', 0, excerpt(this.text), 'a JSON object on one line', JQ_HINT);
    this.fail('E_JSON', this.index, 'the end of the line', expected, fix, true);
  }

  private failJson(found: string, expected: string, fix: string): never {
    this.fail('E_JSON', this.index, found, expected, fix);
  }

  private fail(code: ProblemCode, index: number, found: string, expected: string, fix: string, atEnd = false): never {
    const finding: Finding = {
      code,
      byteInLine: Buffer.byteLength(this.text.slice(0, index)),
      found: `${found} at column ${index + 1}`,
      expected,
      fix,
    };
    if (this.path.length > 0) finding.field = pathText(this.path);
    if (atEnd) finding.atEnd = true;
    throw finding; // caught above; not an Error, whose stack would cost more than the reading
  }
}

function pathText(path: (string | number)[]): string {
  return excerpt(path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')).replace(/^\./, '');
}

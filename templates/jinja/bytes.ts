/** Python's `bytes`, as far as a template meets them: what `encode` gives, and what can be asked of it. */
import { bindArguments } from './arguments.js';
import { TemplateError, fail } from './errors.js';
import { Bytes, Callable, checkText, checkTextLength, requireText, spend, type Run, type Value } from './values.js';

type Codec = 'utf-8' | 'ascii' | 'latin-1';

const CODECS: Record<string, Codec> = {
  'utf-8': 'utf-8',
  utf8: 'utf-8',
  u8: 'utf-8',
  ascii: 'ascii',
  'us-ascii': 'ascii',
  latin1: 'latin-1',
  'latin-1': 'latin-1',
  'iso-8859-1': 'latin-1',
};

function findCodec(encoding: Value): Codec {
  const name = requireText(encoding, 'the encoding');
  const codec = CODECS[name.toLowerCase().replaceAll('_', '-')];
  if (codec) return codec;
  throw new TemplateError('TEMPLATE_UNSUPPORTED', `the encoding '${name}' is not available; use utf-8, ascii or latin-1`);
}

/** What becomes of a character that an encoding lacks. */
const ERROR_HANDLERS: Record<string, (character: string, codec: Codec) => string> = {
  strict: (character, codec) => fail(`'${codec}' codec can't encode character '${escapeCharacter(character)}'`),
  ignore: () => '',
  replace: () => '?',
  xmlcharrefreplace: (character) => `&#${character.codePointAt(0)!};`,
  backslashreplace: (character) => escapeCharacter(character),
};

/** A character as `\x..`, `\u....` or `\U........`. */
export function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${digits.padStart(4, '0')}` : `\\U${digits.padStart(8, '0')}`;
}

/** `text.encode(encoding, errors)`. */
export function encode(run: Run, text: string, encoding: Value = 'utf-8', errors: Value = 'strict'): Bytes {
  const codec = findCodec(encoding);
  checkTextLength(run, text.length * 4);
  // Lone surrogates have no UTF-8.
  const lacking = codec === 'utf-8' ? /\p{Cs}/gu : codec === 'ascii' ? /[^\x00-\x7f]/gu : /[^\x00-\xff]/gu;
  const name = requireText(errors, 'the name of an error handler');
  const known = text.replace(lacking, (character) => {
    if (!Object.hasOwn(ERROR_HANDLERS, name)) fail(`unknown error handler name '${name}'`);
    return ERROR_HANDLERS[name]!(character, codec);
  });
  return new Bytes(Buffer.from(checkText(run, known), codec === 'utf-8' ? 'utf8' : 'latin1'));
}

function decode(run: Run, { data }: Bytes, encoding: Value = 'utf-8', errors: Value = 'strict'): string {
  const codec = findCodec(encoding);
  spend(run, data.length >>> 7);
  if (codec === 'latin-1') return Buffer.from(data).toString('latin1');
  const isAscii = data.every((byte) => byte < 0x80);
  if (isAscii) return Buffer.from(data).toString('latin1');
  if (codec === 'utf-8' && (errors === 'strict' || errors === 'replace')) {
    try {
      return new TextDecoder('utf-8', { fatal: errors === 'strict', ignoreBOM: true }).decode(data);
    } catch {
      return fail("'utf-8' codec can't decode these bytes");
    }
  }
  if (errors === 'strict') fail("'ascii' codec can't decode these bytes");
  throw new TemplateError('TEMPLATE_UNSUPPORTED', `decode() with errors=${JSON.stringify(errors)} is not available in chat templates`);
}

const OTHER_METHODS = new Set(
  (
    'capitalize center count endswith expandtabs find fromhex index isalnum isalpha isascii isdigit islower isspace istitle isupper join ' +
    'ljust lower lstrip maketrans partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines ' +
    'startswith strip swapcase title translate upper zfill'
  ).split(' '),
);

/** The method of that name, bound to the bytes. */
export function bytesMethod(bytes: Bytes, name: string): Callable | undefined {
  if (name === 'decode') {
    return new Callable(name, 'builtin_function_or_method', (run, args, keywords) => {
      const [encoding, errors] = bindEncoding(name, args, keywords);
      return decode(run, bytes, encoding, errors);
    });
  }
  if (name === 'hex') {
    return new Callable(name, 'builtin_function_or_method', (run, args, keywords) => {
      if (args.length + keywords.size > 0) throw new TemplateError('TEMPLATE_UNSUPPORTED', 'hex() takes no separator in chat templates');
      return checkText(run, Buffer.from(bytes.data).toString('hex'));
    });
  }
  if (!OTHER_METHODS.has(name)) return undefined;
  return new Callable(name, 'builtin_function_or_method', () => {
    throw new TemplateError('TEMPLATE_UNSUPPORTED', `the method '${name}' of bytes is not available in chat templates; decode them first`);
  });
}

/** The arguments of `encode` and `decode`. */
export function bindEncoding(name: string, args: Value[], keywords: ReadonlyMap<string, Value>): Value[] {
  return bindArguments(name, ['encoding', 'errors'], args, keywords);
}

/** `b'...'`. */
export function bytesRepr({ data }: Bytes): string {
  const mark = data.includes(0x27) && !data.includes(0x22) ? '"' : "'";
  let text = '';
  for (const byte of data) {
    const character = String.fromCharCode(byte);
    const known = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\', [mark]: `\\${mark}` }[character];
    text += known ?? (byte >= 0x20 && byte < 0x7f ? character : `\\x${byte.toString(16).padStart(2, '0')}`);
  }
  return `b${mark}${text}${mark}`;
}

/** Where a line stops being UTF-8, and what it probably is instead. */
import { isUtf8 } from 'node:buffer';
import { excerpt, type Finding } from './problems.js';

/** The first problem of the bytes, or undefined when they are UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
export function checkUtf8(bytes: Buffer): Finding | undefined {
  if (isUtf8(bytes)) return undefined;
  const byteInLine = validPrefixBytes(bytes);
  const hex = bytes.toString('hex', byteInLine, Math.min(byteInLine + 3, bytes.length)).replace(/..(?=.)/g, '$& ');
  const before = excerpt(bytes.toString('utf8', Math.max(0, byteInLine - 24), byteInLine).replace(/^\ufffd+/, ''));
  const place = { byteInLine, found: `bytes ${hex} after ${before}`, expected: 'UTF-8' };
  if (looksLikeLatin1(bytes)) {
    return {
      code: 'E_ENCODING',
      ...place,
      found: `${place.found} (looks like Latin-1)`,
      fix: 'convert the file: iconv -f WINDOWS-1252 -t UTF-8',
    };
  }
  return {
    code: 'E_UTF8',
    ...place,
    fix: 'write the file as UTF-8; the character was probably cut in half or written by another encoding',
  };
}

/** Bytes before the first sequence that is not UTF-8. */
function validPrefixBytes(bytes: Buffer): number {
  let index = 0;
  while (index < bytes.length) {
    const lead = bytes[index] ?? 0;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length > 1 && !isUtf8(bytes.subarray(index, index + length))) return index;
    index += length;
  }
  return index;
}

/** Accented letters as single bytes among ASCII letters, and nothing that could be UTF-8. */
function looksLikeLatin1(bytes: Buffer): boolean {
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index] ?? 0;
    if (byte < 0x80) continue;
    const isAccentedLetter = byte >= 0xc0 && byte <= 0xfd;
    const isAlone = (bytes[index + 1] ?? 0) < 0x80;
    if (!isAccentedLetter || !isAlone || !(isAsciiLetter(bytes[index - 1]) || isAsciiLetter(bytes[index + 1]))) return false;
  }
  return true;
}

function isAsciiLetter(byte: number | undefined): boolean {
  return byte !== undefined && (byte | 32) >= 97 && (byte | 32) <= 122;
}

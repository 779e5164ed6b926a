/** Files that are not JSONL at all, recognised by their first bytes so that the user gets one clear answer instead of a thousand. */
import { excerpt, type Finding } from './problems.js';

/** Bytes from the start of the file that `checkFormat` wants to see. */
export const FORMAT_HEAD_BYTES = 4096;

/** What the file is instead of JSONL, or undefined when it may be JSONL. */
export function checkFormat(head: Buffer): Finding | undefined {
  const encoding = wideEncoding(head);
  if (encoding !== undefined) {
    const found = `${encoding} text`;
    return { code: 'E_ENCODING', found, expected: 'UTF-8', fix: `convert the file: iconv -f ${encoding} -t UTF-8` };
  }
  const binary = binaryFormat(head);
  if (binary !== undefined) return { code: 'E_FORMAT', found: binary.name, expected: 'JSONL: one JSON object a line', fix: binary.fix };
  const lines = head
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .split('\n');
  return checkDocument(lines) ?? checkTable(lines);
}

function wideEncoding(head: Buffer): string | undefined {
  const starts = (...bytes: number[]) => head.subarray(0, bytes.length).equals(Buffer.from(bytes));
  if (starts(0xff, 0xfe, 0, 0) || starts(0x7b, 0, 0, 0)) return 'UTF-32LE';
  if (starts(0, 0, 0xfe, 0xff) || starts(0, 0, 0, 0x7b)) return 'UTF-32BE';
  if (starts(0xff, 0xfe) || starts(0x7b, 0)) return 'UTF-16LE';
  if (starts(0xfe, 0xff) || starts(0, 0x7b)) return 'UTF-16BE';
  return undefined;
}

const EXPORT_HINT = 'export it as JSONL: one JSON object a line';
const MAGIC: { bytes: string; at?: number; name: string; fix: string }[] = [
  { bytes: '\x1f\x8b', name: 'a gzip file', fix: 'decompress it first: gunzip' },
  { bytes: '\x28\xb5\x2f\xfd', name: 'a zstd file', fix: 'decompress it first: unzstd' },
  { bytes: 'BZh', name: 'a bzip2 file', fix: 'decompress it first: bunzip2' },
  { bytes: '\xfd7zXZ\0', name: 'an xz file', fix: 'decompress it first: unxz' },
  { bytes: '7z\xbc\xaf\x27\x1c', name: 'a 7-Zip file', fix: 'unpack it first' },
  { bytes: 'PK\x03\x04', name: 'a zip file', fix: 'unpack it first, and upload the JSONL file in it' },
  { bytes: 'ustar', at: 257, name: 'a tar file', fix: 'unpack it first, and upload the JSONL file in it' },
  { bytes: 'PAR1', name: 'a Parquet file', fix: 'convert it: pandas.read_parquet(…).to_json(…, orient="records", lines=True)' },
  { bytes: 'ARROW1', name: 'an Arrow file', fix: EXPORT_HINT },
  { bytes: 'ORC', name: 'an ORC file', fix: EXPORT_HINT },
  { bytes: 'Obj\x01', name: 'an Avro file', fix: EXPORT_HINT },
  { bytes: 'SQLite format 3\0', name: 'an SQLite database', fix: EXPORT_HINT },
  { bytes: '\x89HDF\r\n\x1a\n', name: 'an HDF5 file', fix: EXPORT_HINT },
  { bytes: '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', name: 'an old Office file (xls, doc)', fix: EXPORT_HINT },
  { bytes: '%PDF-', name: 'a PDF file', fix: 'extract its text and write it as JSONL' },
];

function binaryFormat(head: Buffer): { name: string; fix: string } | undefined {
  const text = head.toString('latin1');
  const format = MAGIC.find(({ bytes, at = 0 }) => text.startsWith(bytes, at));
  if (format?.bytes !== 'PK\x03\x04') return format;
  const isOffice = text.includes('[Content_Types].xml') || text.includes('xl/');
  return isOffice ? { name: 'an Excel or other Office file (xlsx, docx)', fix: EXPORT_HINT } : format;
}

/** One JSON document over several lines. */
function checkDocument(lines: string[]): Finding | undefined {
  const first = lines.find((line) => line.trim() !== '')?.trim();
  if (first !== '[' && first !== '{' && first !== '[{') return undefined;
  const fix = first === '{' ? 'put each object on one line: jq -c . FILE' : "put each object of the list on one line: jq -c '.[]' FILE";
  return { code: 'E_TOP_LEVEL', found: `JSON over several lines, beginning with ${first}`, expected: 'a JSON object on each line', fix };
}

/** CSV and the like: the first lines have the same number of the same separator, and do not begin as JSON does. */
function checkTable(lines: string[]): Finding | undefined {
  const [first, second] = lines.filter((line) => line.trim() !== '');
  if (first === undefined || /^\s*[[{]/.test(first)) return undefined;
  for (const [separator, name] of [
    [',', 'CSV'],
    ['\t', 'TSV'],
    [';', 'CSV with semicolons'],
  ] as const) {
    const columns = first.split(separator).length;
    if (columns < 2 || (second !== undefined && lines.length > 2 && second.split(separator).length < columns)) continue;
    const found = `${name}, beginning with ${excerpt(first.slice(0, 60))}`;
    const fix = 'convert it: pandas.read_csv(…).to_json(…, orient="records", lines=True)';
    return { code: 'E_FORMAT', found: excerpt(found), expected: 'JSONL: one JSON object a line', fix };
  }
  return undefined;
}

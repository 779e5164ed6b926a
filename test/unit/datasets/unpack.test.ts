import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { unpackFile } from '../../../datasets/unpack.js';
import { validateUnpacked } from '../../../datasets/validate.js';
import { conversation, makeFileWriter, makeRandom } from './files.js';

const write = makeFileWriter();
const random = makeRandom(3);
const rows = Array.from(
  { length: 1500 },
  (_, index) => JSON.stringify(conversation(`Question ${random(1e9)}`, `Answer ${index}`)) + '\n',
).join('');
const sha256 = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

/** A zstd frame of raw and repeated blocks: valid, if not small. */
function zstdFrame(content: Buffer, windowDescriptor = 0x38): Buffer {
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, windowDescriptor])];
  for (let start = 0; start < content.length; start += 100_000) {
    const block = content.subarray(start, start + 100_000);
    const isLast = start + 100_000 >= content.length ? 1 : 0;
    const isRepeated = block.length > 1 && block.every((byte) => byte === block[0]) ? 1 : 0;
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (isRepeated << 1) | isLast, 0, 3);
    parts.push(header, isRepeated ? block.subarray(0, 1) : block);
  }
  return Buffer.concat(parts);
}

/** What the `zstd` program makes of three rows, at level 19 with a checksum. */
const ZSTD_ROWS = Buffer.from(
  'KLUv/WQpADUCABJEDRGg7QWsmNrBV5vrgmCcgBA/AmCaaRXEY0zXnf36j5hexMPrdN1DFob66GFlD1qW4Ws6vzbLBABDM1CtYpij5KHQVBniIIcf',
  'base64',
);

async function unpackAndValidate(content: Buffer) {
  const target = write('');
  const unpacked = await unpackFile(write(content), target);
  return { unpacked, target, report: await validateUnpacked(unpacked) };
}

describe('what is decompressed', () => {
  const half = Math.floor(rows.length / 2);
  const whole = Buffer.from(rows);
  test.each<[string, Buffer, 'gzip' | 'zstd']>([
    ['gzip', gzipSync(rows), 'gzip'],
    ['gzip of several members', Buffer.concat([gzipSync(rows.slice(0, half)), gzipSync(''), gzipSync(rows.slice(half))]), 'gzip'],
    ['gzip padded with zeros', Buffer.concat([gzipSync(rows), Buffer.alloc(512)]), 'gzip'],
    ['zstd', zstdFrame(whole), 'zstd'],
    ['zstd of several frames', Buffer.concat([zstdFrame(whole.subarray(0, half)), zstdFrame(whole.subarray(half))]), 'zstd'],
    ['zstd with a frame to skip', Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]), zstdFrame(whole)]), 'zstd'],
  ])('%s', async (_name, content, format) => {
    const { unpacked, target, report } = await unpackAndValidate(content);
    expect(unpacked).toEqual({
      path: target,
      compression: { format, sizeBytes: content.length },
      sha256: sha256(rows),
      sizeBytes: rows.length,
    });
    expect(readFileSync(target, 'utf8')).toBe(rows);
    expect(report).toMatchObject({ valid: true, examples: 1500, sizeBytes: rows.length, sha256: sha256(rows), compression: { format } });
  });

  test('what the zstd program writes', async () => {
    const { target, report } = await unpackAndValidate(ZSTD_ROWS);
    expect(readFileSync(target, 'utf8')).toBe(`${JSON.stringify(conversation('Hi', 'Hello, hello, hello'))}\n`.repeat(3));
    expect([report.valid, report.examples, report.compression?.format]).toEqual([true, 3, 'zstd']);
  });

  test('a plain file is left as it is', async () => {
    const file = write(rows);
    expect(await unpackFile(file, write(''))).toEqual({ path: file });
    expect(await unpackFile(write(''), write(''))).toMatchObject({ path: expect.any(String) as string });
  });
});

describe('what is refused', () => {
  const gzip = gzipSync(rows);
  const damaged = Buffer.from(gzip);
  damaged.writeUInt32LE(0, damaged.length - 8);
  const zstd = zstdFrame(Buffer.from(rows));
  const damagedZstd = Buffer.from(ZSTD_ROWS);
  damagedZstd.fill(0xff, 20, 30);
  const bomb = Buffer.alloc(150_000_000);
  test.each<[string, Buffer, string, string]>([
    ['gzip cut off', gzip.subarray(0, -100), 'E_COMPRESSION', 'in the middle of the gzip data'],
    ['gzip cut off in its header', gzip.subarray(0, 5), 'E_COMPRESSION', 'in the middle of the gzip data'],
    ['gzip with another checksum', damaged, 'E_COMPRESSION', 'damaged gzip'],
    ['gzip followed by text', Buffer.concat([gzip, Buffer.from('more')]), 'E_COMPRESSION', 'gzip'],
    ['gzip followed by zeros and text', Buffer.concat([gzip, Buffer.from('\0\0more')]), 'E_COMPRESSION', 'other data after'],
    ['a second member cut off', Buffer.concat([gzip, gzip.subarray(0, -9)]), 'E_COMPRESSION', 'in the middle of the gzip data'],
    ['a gzip bomb', gzipSync(bomb), 'E_TOO_LARGE', 'more than 500 times'],
    ['zstd cut off', zstd.subarray(0, -100), 'E_COMPRESSION', 'in the middle of a zstd frame'],
    ['zstd cut off in its header', zstd.subarray(0, 5), 'E_COMPRESSION', 'in the middle of a zstd frame'],
    ['zstd damaged', damagedZstd, 'E_COMPRESSION', 'damaged zstd'],
    ['zstd followed by text', Buffer.concat([zstd, Buffer.from('more')]), 'E_COMPRESSION', 'where a zstd frame should begin'],
    ['zstd that wants too much memory', zstdFrame(Buffer.from(rows), 0xa0), 'E_COMPRESSION', '--long'],
    ['a zstd bomb', zstdFrame(bomb), 'E_TOO_LARGE', 'more than 500 times'],
    ['compressed twice', gzipSync(gzip), 'E_FORMAT', 'a gzip file'],
    ['a tar file in gzip', gzipSync(Buffer.from('rows.jsonl'.padEnd(257, '\0') + 'ustar')), 'E_FORMAT', 'a tar file'],
    ['nothing in gzip', gzipSync(''), 'E_EMPTY', 'no rows'],
  ])('%s', async (_name, content, code, found) => {
    const { report, target } = await unpackAndValidate(content);
    expect([report.valid, report.errors.length, report.errors[0]?.code]).toEqual([false, 1, code]);
    expect(report.errors[0]?.places[0]?.found).toContain(found);
    expect(statSync(target).size).toBeLessThan(100e6);
  });
});

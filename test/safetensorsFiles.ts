/** Safetensors files made by hand, right and wrong. */
import { readSafetensorsHeader, type TensorInfos } from '../models/safetensorsHeader.js';

export type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] };

/** A file with this header, as it is, and so many bytes of data. */
export function rawFile(header: string | Buffer, dataBytes = 0, headerBytes?: bigint, data = Buffer.alloc(dataBytes)): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerBytes ?? BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/** A good file of zeros. */
export function tensorFile(shapes: Record<string, number[]>, dtype = 'F32'): Buffer {
  const size = dtype === 'F32' ? 4 : 2;
  let end = 0;
  const header: Record<string, Entry> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const begin = end;
    end += size * shape.reduce((product, one) => product * one, 1);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  return rawFile(JSON.stringify(header), end);
}

export function readHeader(file: Buffer): Promise<TensorInfos> {
  return readSafetensorsHeader((begin, end) => Promise.resolve(file.subarray(begin, end)), file.length);
}

/** TensorBoard: one event file among the job's outputs, written whole each time, so that it is never half of one. */
import protobuf from 'protobufjs/minimal.js';
import type { Delivery, Row, RunEnd } from './tracker.js';

/** Between two writes while the job trains. */
const WRITE_INTERVAL_MS = 5 * 60_000;

/** @param put  stores the whole file */
export async function openTensorboard(startTime: Date, put: (file: Buffer) => Promise<void>): Promise<Delivery> {
  const records = [record(encodeEvent({ time: startTime, version: 'brain.Event:2' }))];
  let writtenAt = performance.now();
  let last = 0;
  let written = 0;
  const write = async () => {
    await put(Buffer.concat(records));
    writtenAt = performance.now();
    written = last;
  };
  return {
    url: '',
    // The file begins anew with every delivery.
    position: 0,
    warnings: [],
    async send(rows: Row[]) {
      for (const { step, time, values } of rows) records.push(record(encodeEvent({ time, step, values })));
      last = rows.at(-1)!.step;
    },
    async confirmed() {
      if (written < last && (written === 0 || performance.now() - writtenAt > WRITE_INTERVAL_MS)) await write();
      return written;
    },
    async finish({ summary }: RunEnd) {
      const values = Object.fromEntries(Object.entries(summary).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
      records.push(record(encodeEvent({ time: new Date(), step: last, values })));
      await write();
    },
    async close() {
      if (written < last) await write().catch(() => {}); // the next delivery writes all of it
    },
  };
}

interface Event {
  time: Date;
  step?: number;
  version?: string;
  values?: Record<string, number>;
}

/** `tensorflow.Event`: wall_time 1, step 2, file_version 3, summary 5; in that, values 1 with tag 1 and simple_value 2. */
function encodeEvent({ time, step, version, values }: Event): Uint8Array {
  const event = protobuf.Writer.create();
  event.uint32(9).double(time.getTime() / 1000);
  if (step !== undefined) event.uint32(16).int64(step);
  if (version !== undefined) event.uint32(26).string(version);
  if (values) {
    event.uint32(42).fork();
    for (const [tag, value] of Object.entries(values)) event.uint32(10).fork().uint32(10).string(tag).uint32(21).float(value).ldelim();
    event.ldelim();
  }
  return event.finish();
}

/** TFRecord: length, its checksum, the data, its checksum. */
function record(data: Uint8Array): Buffer {
  const framed = Buffer.alloc(16 + data.length);
  framed.writeBigUInt64LE(BigInt(data.length), 0);
  framed.writeUInt32LE(maskedChecksum(framed.subarray(0, 8)), 8);
  framed.set(data, 12);
  framed.writeUInt32LE(maskedChecksum(data), 12 + data.length);
  return framed;
}

/** CRC-32C, which zlib does not have. */
const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

function maskedChecksum(data: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of data) sum = TABLE[(sum ^ byte) & 0xff]! ^ (sum >>> 8);
  sum = (sum ^ 0xffffffff) >>> 0;
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0;
}

/** A worker thread of `validate.ts`: one task in, one reply out, until it is ended. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { tallyRange } from './tally.js';
import type { ThreadReply, ThreadTask } from './validate.js';

const HASH_READ_BYTES = 1024 * 1024;
/** Bytes between signs of life while hashing. */
const HASH_REPORT_BYTES = 64 * 1024 * 1024;

// Every bad line costs an exception in JSON.parse; most of its price is a stack that nobody reads.
Error.stackTraceLimit = 0;

parentPort?.on('message', (task: ThreadTask) => {
  if (task.kind === 'hash') {
    reply({ kind: 'hash', sha256: hashFile(task.path) });
    return;
  }
  const tally = tallyRange(task.path, task.range, { maxRows: task.maxRows, withoutDistinct: new Set(task.withoutDistinct) });
  reply({ kind: 'tally', tally }, [tally.hashes.buffer as ArrayBuffer]);
});

function reply(message: ThreadReply, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

function hashFile(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(HASH_READ_BYTES);
  const file = openSync(path, 'r');
  try {
    for (let offset = 0; ;) {
      const count = readSync(file, buffer, 0, buffer.length, offset);
      if (count === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, count));
      offset += count;
      if (offset % HASH_REPORT_BYTES === 0) reply({ kind: 'hashing' });
    }
  } finally {
    closeSync(file);
  }
}

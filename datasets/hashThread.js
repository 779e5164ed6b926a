/** A worker thread that computes a file's SHA-256 beside its validation. Plain JavaScript: it is at work before the others have loaded. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const READ_BYTES = 1024 * 1024;

const hash = createHash('sha256');
const buffer = Buffer.allocUnsafe(READ_BYTES);
const file = openSync(workerData, 'r');
for (let offset = 0, count = 1; count > 0; offset += count) {
  count = readSync(file, buffer, 0, buffer.length, offset);
  hash.update(buffer.subarray(0, count));
}
closeSync(file);
parentPort?.postMessage(hash.digest('hex'));

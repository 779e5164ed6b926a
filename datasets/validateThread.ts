/** A worker thread of `validate.ts`: one range in, its tally out, until it is ended. */
import { parentPort } from 'node:worker_threads';
import type { ByteRange } from './blocks.js';
import { tallyRange } from './tally.js';

export interface RangeTask {
  path: string;
  range: ByteRange;
  maxRows: number;
  withoutDistinct: string[];
}

// Every bad line costs an exception in JSON.parse; most of its price is a stack that nobody reads.
Error.stackTraceLimit = 0;

parentPort?.on('message', ({ path, range, maxRows, withoutDistinct }: RangeTask) => {
  const tally = tallyRange(path, range, { maxRows, withoutDistinct: new Set(withoutDistinct) });
  parentPort?.postMessage(tally, [tally.hashes.buffer as ArrayBuffer]);
});

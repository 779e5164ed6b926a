import { describe, expect, it } from 'vitest';
import { expectedWait } from '../../../api/queuePlace.js';

describe('expected wait in the GPU queue', () => {
  it.each([
    ['a free slot', { ahead: 0, slots: 1, leftSeconds: [], jobSeconds: null }, 0],
    ['the job that runs ends first', { ahead: 0, slots: 1, leftSeconds: [90], jobSeconds: null }, 90],
    ['the first of two slots to be free', { ahead: 0, slots: 2, leftSeconds: [90, 30], jobSeconds: null }, 30],
    ['one before it takes a slot', { ahead: 1, slots: 2, leftSeconds: [90, 30], jobSeconds: 100 }, 90],
    ['three before it, on two slots', { ahead: 3, slots: 2, leftSeconds: [90, 30], jobSeconds: 100 }, 190],
    ['as many free slots as there are before it, and one more', { ahead: 1, slots: 2, leftSeconds: [], jobSeconds: null }, 0],
    ['a job before it of unknown length', { ahead: 1, slots: 1, leftSeconds: [90], jobSeconds: null }, null],
    ['a job that runs and has not told yet', { ahead: 0, slots: 1, leftSeconds: [null], jobSeconds: 5 }, null],
    ['no worker', { ahead: 0, slots: 0, leftSeconds: [], jobSeconds: 5 }, null],
  ])('%s', (_what, queue, seconds) => {
    expect(expectedWait(queue)).toBe(seconds);
  });
});

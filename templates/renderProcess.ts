/** The process that renderingProcess.ts starts: does what it is told until it is let go. */
import { setImmediate } from 'node:timers/promises';
import { countLines } from '../datasets/rows.js';
import { holdOut } from './holdOut.js';
import { preview, renderPart } from './renderPart.js';
import type { CountRequest, ProcessMessage, ProcessRequest } from './renderingProcess.js';

process.on('message', (message: ProcessRequest) => {
  work(message)
    .then((result) => say({ result } as ProcessMessage))
    .catch((error: unknown) => say({ failure: error instanceof Error ? error.message : String(error) }));
});
// Whoever started this is gone, or done with it.
process.on('disconnect', () => process.exit());

function work(message: ProcessRequest): Promise<unknown> {
  switch (message.work) {
    case 'part':
      return renderPart(message.request, (progress) => say({ progress }));
    case 'holdOut':
      return holdOut(message.request, () => say({ progress: null }));
    case 'countLines':
      return countRanges(message.request, () => say({ progress: null }));
    case 'preview':
      return preview(message.request, (progress) => say({ progress }));
  }
}

async function countRanges({ datasetPath, ranges }: CountRequest, report: () => void): Promise<number[]> {
  const counts: number[] = [];
  for (const range of ranges) {
    counts.push(countLines(datasetPath, range));
    report();
    await setImmediate();
  }
  return counts;
}

function say(message: ProcessMessage): void {
  if (process.connected) process.send!(message);
}

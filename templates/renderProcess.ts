/** The process that renderingProcess.ts starts: does what it is told until it is let go. */
import { dealExamples } from './dealExamples.js';
import { preview, renderPart } from './renderPart.js';
import type { ProcessMessage, ProcessRequest } from './renderingProcess.js';

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
    case 'deal':
      return dealExamples(message.request, () => say({ progress: null }));
    case 'preview':
      return preview(message.request, (progress) => say({ progress }));
  }
}

function say(message: ProcessMessage): void {
  if (process.connected) process.send!(message);
}

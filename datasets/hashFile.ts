/** The SHA-256 of a file, on a thread of its own: whoever waits for it goes on with something else. */
import { Worker } from 'node:worker_threads';

/** @returns in hex */
export async function hashFile(path: string, signal: AbortSignal): Promise<string> {
  const worker = new Worker(new URL('./hashThread.js', import.meta.url), { workerData: path, execArgv: [] });
  try {
    return await new Promise<string>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      worker.on('error', reject);
      worker.on('message', resolve);
    });
  } finally {
    await worker.terminate();
  }
}

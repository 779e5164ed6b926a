/** What a person sees while something takes long: a line when it starts to, and one now and then after. */

export type Progress = (line: string) => void;

const firstLineMs = 2_000;
const nextLineMs = 15_000;

/** Runs `work`; prints `text` when it takes over two seconds, then every fifteen, and how long it took. */
export async function announce<T>(progress: Progress, text: string, work: () => Promise<T>): Promise<T> {
  const startedMs = Date.now();
  const seconds = () => Math.round((Date.now() - startedMs) / 1000);
  let slow = false;
  let timer = setTimeout(function speak() {
    progress(slow ? `  … ${text} (${seconds()} s)` : `${text}…`);
    slow = true;
    timer = setTimeout(speak, nextLineMs);
  }, firstLineMs);
  try {
    const result = await work();
    if (slow) progress(`  ${text}: done in ${seconds()} s`);
    return result;
  } finally {
    clearTimeout(timer);
  }
}

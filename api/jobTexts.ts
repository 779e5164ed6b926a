/**
 * Jobs as the JSON that lists answer with, in UTF-8. Most of a list is the same from one request to the next: a job's text is kept
 * for as long as its row's version is the same, and only the rows of other versions are read.
 */
import type { Database } from '../stores/database.js';
import { readJobVersions } from '../stores/jobs.js';
import type { RowVersion } from '../stores/lists.js';
import type { JobFamily } from './jobFamilies.js';

/** Of all texts of one family together; a job has about 3 kB. */
const MAX_BYTES = 32 * 1024 ** 2;

/** The texts of these jobs, in their order, without those that were deleted meanwhile. */
export type JobTexts = (versions: RowVersion[], serialize: (job: object) => string) => Promise<Buffer[]>;

export function openJobTexts(database: Database, family: JobFamily): JobTexts {
  const kept = new Map<string, { version: string; text: Buffer }>();
  let bytes = 0;

  return async (versions, serialize) => {
    const texts = new Map<string, Buffer>();
    const missing: string[] = [];
    for (const { uid, version } of versions) {
      const known = kept.get(uid);
      if (known?.version === version) texts.set(uid, known.text);
      else missing.push(uid);
    }
    const rows = missing.length > 0 ? await readJobVersions(database, missing) : [];
    for (const { version, ...job } of rows) {
      const text = Buffer.from(serialize(family.view(job)));
      texts.set(job.uid, text);
      keep(job.uid, version, text);
    }
    return versions.flatMap(({ uid }) => texts.get(uid) ?? []);
  };

  function keep(uid: string, version: string, text: Buffer): void {
    bytes += text.length - (kept.get(uid)?.text.length ?? 0);
    kept.set(uid, { version, text });
    if (bytes <= MAX_BYTES) return;
    kept.clear();
    bytes = 0;
  }
}

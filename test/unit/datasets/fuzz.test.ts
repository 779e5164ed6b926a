import fc from 'fast-check';
import { expect, test } from 'vitest';
import { makeFileWriter, reportInRanges } from './files.js';
import { factsOfReport, fuzzedFile, readSlowly } from './fuzzedFiles.js';

const write = makeFileWriter();

test('random files: the report has what a slow reader finds, line by line, and nothing throws', () => {
  fc.assert(
    fc.property(fuzzedFile, ({ content, rangeBytes }) => {
      const { facts, plainLines } = readSlowly(content);
      const file = write(content);
      const report = reportInRanges(file, { rangeBytes });
      expect(factsOfReport(report, plainLines)).toEqual(facts);
      expect(report).toEqual(reportInRanges(file, { scan: () => false }));
    }),
    { numRuns: 1000, interruptAfterTimeLimit: 4_000 },
  );
});

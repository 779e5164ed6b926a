/**
 * Two kinds of tests: those that need nothing but this process, and those that share one running stack. A third, the comparison with a
 * thousand templates of other projects, downloads them; it runs when it is asked for: `npm test -- test/corpus`.
 */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/*.test.ts'],
          // Some start the command line six times over, of which a machine with two busy cores needs half a minute.
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'stack',
          include: ['test/integration/**/*.test.ts', 'test/faults/**/*.test.ts'],
          // Runs only when one of these files is selected.
          globalSetup: ['test/globalSetup.ts'],
          // One file at a time: fault tests kill what the others need.
          fileParallelism: false,
          // Several jobs one after another, each half a minute and more on two cores.
          testTimeout: 400_000,
          hookTimeout: 400_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          // Minutes each: too long for every run. `npm test -- test/onRequest`.
          name: 'onRequest',
          include: ['test/onRequest/**/*.test.ts'],
          globalSetup: ['test/globalSetup.ts'],
          testTimeout: 300_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'corpus',
          include: ['test/corpus/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});

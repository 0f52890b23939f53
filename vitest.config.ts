import { defineConfig } from 'vitest/config';

/** Folders whose tests start servers and processes: they run one at a time, after the quick ones, unless that is asked for. */
const HEAVY = ['activities', 'client', 'deploy', 'workers', 'workflows', 'end-to-end'];

const full = process.env['SOFTFLOW_TEST_FULL'] === '1';
const heavy = HEAVY.map((folder) => `test/${folder}/**/*.test.ts`);
const slow = full ? [] : ['test/**/*.full.test.ts'];

export default defineConfig({
  test: {
    globalSetup: ['test/setup/global-setup.ts'],
    setupFiles: ['test/setup/no-console.ts'],
    pool: 'forks',
    maxWorkers: 2,
    maxConcurrency: 2,
    testTimeout: full ? 3_600_000 : 60_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'quick',
          include: ['test/**/*.test.ts'],
          exclude: [...heavy, ...slow],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'heavy',
          include: heavy,
          exclude: slow,
          maxWorkers: Number(process.env['SOFTFLOW_TEST_HEAVY_FILES'] ?? 1),
          testTimeout: full ? 3_600_000 : 600_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

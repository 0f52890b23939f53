import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import { tinyConfig } from './soft-run.ts';

const [ITEMS, DAY_SECONDS] = [36, 86_400];

/** Two CSV files of which one grows: every user meets the next item once a day, at noon. */
export class GrowingCsv {
  readonly interactions: string;
  readonly items: string;
  readonly #firstDay: number;
  #days = 0;

  /** @param firstDay an instant, for instance `2026-03-01T00:00:00Z` */
  constructor(folder: string, firstDay: string) {
    this.interactions = join(folder, 'interactions.csv');
    this.items = join(folder, 'items.csv');
    this.#firstDay = Date.parse(firstDay) / 1000;
    const titles = Array.from({ length: ITEMS }, (_, item) => `${item},Title ${item}\n`);
    writeFileSync(this.items, `item_id,title\n${titles.join('')}`);
    writeFileSync(this.interactions, 'user_id,item_id,timestamp\n');
  }

  /** More days of `users` users. */
  append(days: number, users = 30): void {
    const rows: string[] = [];
    for (let day = this.#days; day < this.#days + days; day++)
      for (let user = 0; user < users; user++)
        rows.push(`u${user},${(user * 7 + day) % ITEMS},${this.#firstDay + (day + 0.5) * DAY_SECONDS + user}\n`);
    this.#days += days;
    appendFileSync(this.interactions, rows.join(''));
  }

  /** A retrain that the stub jobs do in a moment; test windows of two days. */
  config(change: Partial<RunConfigInput> = {}): RunConfigInput {
    return tinyConfig({
      name: 'nightly',
      data: {
        source: { csv: { interactions: this.interactions, items: this.items } },
        kCore: 2,
        historyLength: 3,
        samples: { train: 24, valid: 8, test: 80 },
      },
      train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 },
      evaluation: { ks: [10], zeroShot: false },
      promote: { mode: 'automatic', minWindows: 20 },
      retrain: { evalSpan: '2d', sourceAttempts: 2 },
      ...change,
    });
  }
}

/** Judges that say yes, and no, to everybody. */
export const ALWAYS = { mode: 'automatic', minWindows: 20, when: { minGain: -1 } } as const;
export const NEVER_BETTER = { mode: 'automatic', minWindows: 20, when: { minGain: 1 } } as const;

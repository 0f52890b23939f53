import type { TestContext } from 'vitest';

declare module 'vitest' {
  interface TaskMeta {
    fault?: FaultFigure;
  }
}

/** What a row of the fault table says beyond passed or failed. */
export interface FaultFigure {
  cases: number;
  figure: string;
}

/**
 * Says how many cases a test of a fault row went through. The row is named at the end of the test's title, "... (R2)";
 * `npm run faults` runs the tests that have one and puts the table together.
 */
export function faultFigure({ task }: TestContext, cases: number, figure: string): void {
  task.meta.fault = { cases, figure };
}

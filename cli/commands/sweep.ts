import { relative } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import { durationMs } from '../../workflows/duration.ts';
import type { SweepPlan } from '../../workflows/sweep-state.ts';
import { howToReach } from '../detach.ts';
import { EXIT } from '../exit-codes.ts';
import type { Session } from '../session.ts';

import { startAndShow } from '../start-work.ts';
import { loadGrid } from '../sweep-grid.ts';
import { oneLine, type Terminal } from '../terminal.ts';
import { watchSweep } from '../watch-sweep.ts';

/** How a grid is gone through; shared with schedules. */
export interface GridOptions {
  grid: string[];
  maxParallel: string;
  budget?: string;
  earlyStop: boolean;
}

export interface SweepOptions extends GridOptions {
  set: string[];
  name?: string;
  tag: string[];
  detach?: boolean;
  json?: boolean;
}

/** Sets up what the recipe needs, starts a run for each combination of the grid and shows their ranking. */
export async function sweep(recipe: string, options: SweepOptions, terminal: Terminal): Promise<number> {
  const overrides = [...options.set, ...(options.name === undefined ? [] : [`name=${options.name}`])];
  const { config, file, runs } = loadGrid(recipe, options.grid, { overrides });
  const plan = planOf(runs, options);
  config.tags = [...new Set([...config.tags, ...options.tag])];
  return startAndShow(config, terminal, async (session) => {
    const sweeps = await session.sweeps();
    const sweepId = await sweeps.start(config, plan, { recipe: relative(process.cwd(), file) });
    return () => presentSweep(session, sweepId, options, terminal);
  });
}

/** @throws SoftflowError `USAGE` */
export function planOf(runs: SweepPlan['runs'], { maxParallel, budget, earlyStop }: GridOptions): SweepPlan {
  const parallel = Number(maxParallel);
  if (!Number.isInteger(parallel) || parallel < 1)
    throw new SoftflowError(
      'USAGE',
      `--max-parallel: expected a whole number of 1 or more, got "${oneLine(maxParallel, 40)}".`,
    );
  const budgetMs = budget === undefined ? undefined : durationMs(budget);
  if (budget !== undefined && !budgetMs)
    throw new SoftflowError(
      'USAGE',
      `--budget: expected a duration such as 30m, 6h or 2d, got "${oneLine(budget, 40)}".`,
    );
  return { runs, maxParallel: parallel, earlyStop, ...(budgetMs ? { budgetSeconds: budgetMs / 1000 } : {}) };
}

export async function presentSweep(
  session: Session,
  sweepId: string,
  options: { detach?: boolean; json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const page = session.webUi && `${session.webUi}/namespaces/${session.namespace}/workflows/${sweepId}`;
  if (options.json) terminal.out(JSON.stringify({ event: 'started', sweepId, ...(page ? { webUi: page } : {}) }));
  else {
    terminal.out(`sweep ${sweepId}`);
    if (page) terminal.out(`web UI ${page}`);
  }
  if (!options.detach) return watchSweep(session, sweepId, options, terminal);
  if (!options.json) terminal.out(howToReach(sweepId));
  return EXIT.ok;
}

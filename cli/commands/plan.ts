import { relative } from 'node:path';
import { openStore } from '../../artifacts/store.ts';
import { machineMemory } from '../../workers/estimator.ts';
import type { RunConfig } from '../../workflows/run-config.ts';
import { loadConfigFile } from '../config-file.ts';
import { EXIT } from '../exit-codes.ts';
import { fits, type PlanReport, renderPlan, totalsOf, willNotFit } from '../plan-view.ts';
import { openRunCosts } from '../run-costs.ts';
import { hasStore, STORE_FOLDER } from '../session.ts';
import { runSetup, setupNeeds } from '../setup-run.ts';
import { loadGrid } from '../sweep-grid.ts';
import { mergePlans, renderSweepPlan, type SweepPlanReport } from '../sweep-plan.ts';
import type { Terminal } from '../terminal.ts';
import { type GridOptions, planOf } from './sweep.ts';

export interface PlanOptions extends GridOptions {
  set: string[];
  json?: boolean;
}

/** What a run of the recipe, or a sweep of it, would reuse, resume and run, and what that takes; computes and writes nothing of it. */
export async function plan(recipe: string, options: PlanOptions, terminal: Terminal): Promise<number> {
  return options.grid.length > 0 ? planOfSweep(recipe, options, terminal) : planOfRun(recipe, options, terminal);
}

async function planOfRun(recipe: string, options: PlanOptions, terminal: Terminal): Promise<number> {
  const { config, file } = loadConfigFile(recipe, { overrides: options.set });
  const { steps, backend } = await (await openCosts(config, terminal))(config);
  const total = totalsOf(steps);
  const memoryBytes = machineMemory();
  const report: PlanReport = {
    recipe: relative(process.cwd(), file),
    name: config.name,
    steps,
    total,
    ...(config.cost.perHour === undefined ? {} : { currency: config.cost.currency }),
    ...(backend === undefined ? {} : { backend }),
    memoryBytes,
    fits: fits(total.peakBytes, memoryBytes),
  };
  show(report, renderPlan, options, terminal);
  if (!report.fits) throw willNotFit(report, config);
  return EXIT.ok;
}

async function planOfSweep(recipe: string, options: PlanOptions, terminal: Terminal): Promise<number> {
  const { config, file, runs, configs } = loadGrid(recipe, options.grid, { overrides: options.set });
  const sweep = planOf(runs, options);
  const costsOf = await openCosts(config, terminal);
  const costs = [];
  for (const each of configs) costs.push(await costsOf(each));
  const backend = costs.find((each) => each.backend !== undefined)?.backend;
  const memoryBytes = machineMemory();
  const merged = mergePlans(
    configs,
    costs.map(({ steps }) => steps),
    sweep,
  );
  const report: SweepPlanReport = {
    recipe: relative(process.cwd(), file),
    name: config.name,
    ...merged,
    ...(config.cost.perHour === undefined ? {} : { currency: config.cost.currency }),
    ...(backend === undefined ? {} : { backend }),
    memoryBytes,
    fits: fits(merged.total.peakBytes, memoryBytes),
  };
  show(report, renderSweepPlan, options, terminal);
  if (report.fits) return EXIT.ok;
  const worst = costs.findIndex(({ steps }) => totalsOf(steps).peakBytes === report.total.peakBytes);
  const { steps = [] } = costs[worst] ?? {};
  throw willNotFit({ ...report, steps, total: totalsOf(steps) }, configs[worst] as RunConfig);
}

async function openCosts(config: RunConfig, terminal: Terminal) {
  await runSetup(setupNeeds(config), terminal);
  return openRunCosts(hasStore() ? await openStore(STORE_FOLDER, { readOnly: true }) : undefined, terminal);
}

function show<Report>(
  report: Report,
  render: (report: Report, columns: number, paint: Terminal['paint']) => string[],
  { json }: PlanOptions,
  terminal: Terminal,
): void {
  const columns = terminal.interactive ? terminal.columns : Infinity;
  const lines = json ? [JSON.stringify(report, null, 2)] : render(report, columns, terminal.paint);
  for (const line of lines) terminal.out(line);
}

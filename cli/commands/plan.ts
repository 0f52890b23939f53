import { relative } from 'node:path';
import { openStore, type Store } from '../../artifacts/store.ts';
import { earlierRuns, planRun, type RunPlan, sourceNames } from '../../client/plan-run.ts';
import { type EstimatorAnswer, estimateSteps, machineMemory, measureRun } from '../../workers/estimator.ts';
import { machineSources, outlookIn } from '../../workers/planning.ts';
import type { RunConfig } from '../../workflows/run-config.ts';
import { loadConfigFile } from '../config-file.ts';
import { EXIT } from '../exit-codes.ts';
import { costPlan, fits, type PlanReport, renderPlan, totalsOf, willNotFit } from '../plan-view.ts';
import { hasStore, STORE_FOLDER } from '../session.ts';
import { runSetup, setupNeeds } from '../setup-run.ts';
import type { Terminal } from '../terminal.ts';

/** What a run of the recipe would reuse, resume and run, why, and what that takes; computes and writes nothing of it. */
export async function plan(
  recipe: string,
  options: { set: string[]; json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const { config, file } = loadConfigFile(recipe, { overrides: options.set });
  await runSetup(setupNeeds(config), terminal);
  const store = hasStore() ? await openStore(STORE_FOLDER, { readOnly: true }) : undefined;
  const sources = await machineSources(sourceNames(config));
  const earlier = store ? await earlierRuns(store) : [];
  const planned = await planRun(config, sources, { outlook: outlookIn(store), earlier });
  const measured = await measure(config, planned, store, terminal);
  const report = reportOf(config, relative(process.cwd(), file), planned, measured);
  if (options.json) terminal.out(JSON.stringify(report, null, 2));
  else
    for (const line of renderPlan(report, terminal.interactive ? terminal.columns : Infinity, terminal.paint))
      terminal.out(line);
  if (!report.fits) throw willNotFit(report, config);
  return EXIT.ok;
}

/** Nothing has to be measured when nothing has to be computed. */
async function measure(
  config: RunConfig,
  { steps, prepared }: RunPlan,
  store: Store | undefined,
  terminal: Terminal,
): Promise<EstimatorAnswer | undefined> {
  if (steps.every(({ action, step }) => action === 'reuse' || step === 'renderReport')) return undefined;
  terminal.err('Measuring what the run will cost on this machine (seconds, once for each kind of work) ...');
  const { model, data, seed, prompt, lora, generation, encode, train } = config;
  const answer = await measureRun({
    ...(store ? { storeRoot: store.root } : {}),
    backend: 'auto',
    figures: {
      ...{ data, seed, prompt, lora, generation },
      model: model.source,
      precision: model.precision,
      encodeRows: encode.tileRows,
      microBatchSize: train.microBatchSize,
      ...(prepared ? { prepared: prepared.outputs } : {}),
    },
  });
  if (answer.figures.calibration.busy)
    terminal.err(
      `${terminal.paint.yellow('warning')} This machine is busy with other work: the times are rough, most of them too high.`,
    );
  for (const warning of answer.warnings) terminal.err(`${terminal.paint.yellow('warning')} ${warning}`);
  return answer;
}

function reportOf(
  config: RunConfig,
  recipe: string,
  { steps }: RunPlan,
  measured: EstimatorAnswer | undefined,
): PlanReport {
  const estimates = measured
    ? estimateSteps(
        steps.map((step) => toEstimate(step, config)),
        measured.figures,
      )
    : [];
  const costed = costPlan(steps, estimates, config.cost);
  const total = totalsOf(costed);
  const memoryBytes = machineMemory();
  return {
    recipe,
    name: config.name,
    steps: costed,
    total,
    ...(config.cost.perHour === undefined ? {} : { currency: config.cost.currency }),
    ...(measured ? { backend: measured.backend } : {}),
    memoryBytes,
    fits: fits(total.peakBytes, memoryBytes),
  };
}

/** The first round trains y-hat alone (lambda 1), and so does every round whose curriculum stands still. */
function toEstimate({ id, step, stage }: RunPlan['steps'][number], { soft }: RunConfig) {
  const both = stage === 'curriculum' && soft.curriculumAlpha > 0 && id !== 'soft-1-train';
  return { id, step, both, ...(step === 'measureDistance' ? { limit: soft.distancePrompts } : {}) };
}

import { executeChild, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type { PrepareDataResult, StepResult } from '../activities/contracts.ts';
import type { ChampionData } from '../activities/retrain-contracts.ts';
import { SoftflowError } from '../errors.ts';
import { retrainStatusQuery } from './messages.ts';
import { judgeAndPromote } from './promotion.ts';
import { figuresOf } from './promotion-state.ts';
import { concludedRetrain, long, openRetrain, type Retrain, RetrainEnd } from './retrain-lifecycle.ts';
import type { RetrainInput, RetrainStatus } from './retrain-state.ts';
import type { RunConfig } from './run-config.ts';
import { openRun } from './run-lifecycle.ts';
import { ownAttributes } from './search-attributes.ts';
import { prepare, type softWorkflow } from './soft-workflow.ts';
import { settingsOfResults } from './step-params.ts';
import { output, type Run } from './steps.ts';
import type { SweepInput } from './sweep-state.ts';
import type { sweepWorkflow } from './sweep-workflow.ts';

/**
 * What a schedule starts: trains a challenger on the data as of the scheduled time, and lets it take the champion's place
 * if it is better. Promoted, kept, waiting and skipped complete it; drift, an unreadable source and lost training fail it.
 */
export async function retrainWorkflow(input: RetrainInput): Promise<RetrainStatus> {
  const retrain = openRetrain(input);
  setHandler(retrainStatusQuery, () => retrain.status);
  return concludedRetrain(retrain, async () => {
    const champion = await long(retrain).readChampion({ settings: settingsOfResults(retrain.config) });
    const run = challengerRun(retrain, champion);
    const prepared = await prepareAsOf(retrain, run);
    endIfNothingNew(retrain, run, champion);
    await guardAgainstDrift(retrain, prepared, champion);
    endIfTooFewWindows(retrain, prepared);
    await train(retrain, run, champion);
    return judge(retrain);
  });
}

/** The run that trains the challenger: the recipe with the cut-offs of the night, and perhaps the champion's adapter. */
function challengerRun({ config, status, input }: Retrain, champion: ChampionData | null): Run {
  const { asOf, trainUntil } = status;
  status.champion = champion?.release ?? null;
  // Neither side has learnt from what it is tested on.
  const after = Math.min(
    Date.parse(asOf),
    Math.max(Date.parse(trainUntil), Date.parse(champion?.trainedUntil ?? trainUntil)),
  );
  status.testAfter = new Date(after).toISOString();
  const data = { ...config.data, asOf, trainUntil, testAfter: status.testAfter };
  const { heartbeatTimeoutSeconds } = input;
  const run = openRun({ config: { ...config, data }, ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}) });
  return { ...run, id: status.runId, sourceAttempts: config.retrain.sourceAttempts };
}

/** Reads the source up to the cut-off and cuts the windows. */
async function prepareAsOf(retrain: Retrain, run: Run): Promise<StepResult<PrepareDataResult>> {
  await prepare(run);
  const prepared = run.state.results['prepare'] as StepResult<PrepareDataResult>;
  const { windows, windowsDigest } = prepared.result;
  retrain.status.windows = windows;
  if (windowsDigest !== undefined) retrain.status.windowsDigest = windowsDigest;
  return prepared;
}

/** The same windows, model and recipe would only make the champion again. */
function endIfNothingNew({ status }: Retrain, run: Run, champion: ChampionData | null): void {
  const sameModel = champion?.sources.model.digest === run.state.sources?.model.digest;
  if (!champion?.sameSettings || !sameModel || champion.windowsDigest !== status.windowsDigest) return;
  throw new RetrainEnd('skipped', `0 new windows since the champion ${champion.release.slice(0, 8)} was trained`);
}

/** @throws SoftflowError `DRIFT` when the new data is too far from what the champion was trained on */
async function guardAgainstDrift(
  retrain: Retrain,
  prepared: StepResult<PrepareDataResult>,
  champion: ChampionData | null,
): Promise<void> {
  if (!champion) return;
  const fresh = { card: output(prepared, 'card'), items: output(prepared, 'items') };
  const limits = retrain.config.retrain.drift;
  const { observed, findings } = await long(retrain).checkDrift({ champion, fresh, limits });
  retrain.status.drift = observed;
  if (findings.length === 0) return;
  throw new SoftflowError(
    'DRIFT',
    `The new data is too far from the champion's: ${findings.map(({ message }) => message).join('; ')}. ` +
      'Nothing was trained. Look at the source; if the change is real, raise the limits in retrain.drift.',
    { details: { findings } },
  );
}

/** Too few windows to judge by: training could not change what becomes of it. */
function endIfTooFewWindows({ config: { promote }, status }: Retrain, { result }: StepResult<PrepareDataResult>): void {
  const { test } = result.windows;
  const needed = promote.mode === 'never' ? 1 : promote.minWindows;
  if (test >= needed) return;
  throw new RetrainEnd(
    'kept',
    `too few windows: ${test} to test on after ${status.testAfter}, promote.minWindows is ${needed}. Lengthen retrain.evalSpan`,
  );
}

/** Trains the challenger as a run, or the best run of a sweep, of its own, on the very data that was prepared. */
async function train(retrain: Retrain, run: Run, champion: ChampionData | null): Promise<void> {
  const { status, input } = retrain;
  const { runId: workflowId, asOf } = status;
  const config = withWarmStart(retrain, run, champion);
  status.phase = 'training';
  setCurrentDetails(`trains \`${workflowId}\` on data as of ${asOf}`);
  const memo = { name: config.name, tags: config.tags };
  const begun = {
    config,
    recipe: input.recipe ?? `schedule ${status.schedule}`,
    ...(run.state.sources ? { sources: run.state.sources } : {}),
    ...(input.heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds: input.heartbeatTimeoutSeconds } : {}),
  };
  if (input.sweep) {
    const staticSummary = `sweep ${config.name}, as of ${asOf}`;
    const args: [SweepInput] = [{ ...begun, sweep: input.sweep }];
    status.sweepId = workflowId;
    const { best } = await executeChild<typeof sweepWorkflow>('sweepWorkflow', {
      workflowId,
      ...ownAttributes(),
      staticSummary,
      memo,
      args,
    });
    if (best === null) throw stopped(workflowId, 'the best of its runs');
    status.runId = best;
    return;
  }
  const staticSummary = `SOFT run ${config.name}, as of ${asOf}`;
  const options = { workflowId, staticSummary, memo, ...ownAttributes(), args: [begun] as [typeof begun] };
  const trained = await executeChild<typeof softWorkflow>('softWorkflow', options);
  if (trained.phase === 'stopped') throw stopped(workflowId, workflowId);
}

function stopped(id: string, promoted: string): RetrainEnd {
  const next = `\`softflow resume ${id}\`, then \`softflow promote ${promoted}\``;
  return new RetrainEnd('kept', `the training was stopped; ${next}`);
}

/** SFT from the champion's adapter, where it fits the model and the LoRA settings of the recipe. */
function withWarmStart({ config, status }: Retrain, run: Run, champion: ChampionData | null): RunConfig {
  status.warmStart = null;
  const fits = champion?.sameLora && champion.sources.model.digest === run.state.sources?.model.digest;
  if (!config.retrain.warmStart || !champion || !fits) return run.config;
  const { release, adapter } = champion;
  const { uri, sha256, bytes } = adapter;
  status.warmStart = release;
  return { ...run.config, sft: { ...run.config.sft, warmStart: { release, adapter: { uri, sha256, bytes } } } };
}

/** Champion against challenger on the same windows; by the recipe, the winner is promoted or a person is asked. */
async function judge({ config, status, input }: Retrain): Promise<never> {
  status.phase = 'judging';
  const { decision, why, release, judgement } = await judgeAndPromote({
    runId: status.runId,
    promote: config.promote,
    audience: { notify: config.notify, schedule: status.schedule, asOf: status.asOf },
    by: status.schedule === null ? `retrain ${status.workflowId}` : `schedule ${status.schedule}`,
    ...(input.heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds: input.heartbeatTimeoutSeconds } : {}),
  });
  status.challenger = release;
  status.figures = figuresOf(judgement);
  throw new RetrainEnd(decision === 'promoted' || decision === 'waiting' ? decision : 'kept', why);
}

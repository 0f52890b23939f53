import type { AuditRow } from '../../artifacts/decisions.ts';
import type { RunLook } from '../../client/runs.ts';
import type { SweepLook } from '../../client/sweeps.ts';
import { SoftflowError } from '../../errors.ts';
import { renderReportHtml } from '../../report/html.ts';
import { buildRunSummary } from '../../report/run-summary.ts';
import type { UiSource } from '../../ui/source.ts';
import type { EpochRow, RunStatus, StepStatus } from '../../workflows/run-state.ts';
import type { SweepRun } from '../../workflows/sweep-state.ts';
import { smallRun } from '../report/fixtures.ts';

export const SUMMARIES = ['demo-00000001', 'demo-00000002'].map((runId, index) =>
  buildRunSummary(
    smallRun({ runId, config: { ...smallRun().config, soft: { curriculumAlpha: index === 0 ? 1 : 10 } } }),
  ),
);
export const LIVE = 'nightly-00000003';

/** sft-2-train -> SFT epoch 2: train */
const label = (id: string) => id.replace(/^sft-(\d)-(.*)$/, 'SFT epoch $1: $2');

const step = (id: string, stage: StepStatus['stage'], name: StepStatus['step'], state: StepStatus['state']) => ({
  id,
  stage,
  step: name,
  label: label(id),
  state,
});

const epoch = (number: number): EpochRow => ({
  epoch: number,
  lambda: 0,
  distance: null,
  distanceAfter: null,
  trainLoss: 2 / number,
  validation: { hr: { 10: 0.01 * number }, ndcg: { 10: 0.004 }, windows: 32, existingTitles: 0.25 },
});

function status(runId: string, change: Partial<RunStatus>): RunStatus {
  return {
    runId,
    phase: 'completed',
    stage: 'report',
    steps: [],
    sft: [epoch(1), epoch(2)],
    curriculum: [],
    curriculumAlpha: 1,
    latest: { loss: 1, validation: epoch(2).validation },
    ...change,
  };
}

/** A run in its second epoch of SFT, so many samples of 128 far. */
export function liveLook(done: number): RunLook {
  const steps = [
    step('prepare', 'prepare', 'prepareData', 'reused'),
    step('encode', 'encode', 'encodeTitles', 'run'),
    step('sft-1-train', 'sft', 'trainEpoch', 'run'),
    step('sft-2-train', 'sft', 'trainEpoch', done < 128 ? 'running' : 'run'),
  ];
  const progress = {
    step: 'trainEpoch' as const,
    position: `epoch 2, micro-batch ${done / 8}/16`,
    done,
    total: 128,
    unit: 'samples',
    rate: 1.25,
    secondsLeft: (128 - done) / 1.25,
    loss: 1.53,
    tokensPerSecond: 312.4,
    mfu: 0.716,
  };
  return {
    status: status(LIVE, { phase: 'running', stage: 'sft', steps, sft: [epoch(1)] }),
    progress: done < 128 ? [progress] : [],
    elapsedSeconds: 60 + done,
  };
}

/** A sweep at work: one run is ahead, one was let go, one waits for its turn. */
export function liveSweep(): SweepLook {
  const run = (n: number, change: Partial<SweepRun>): SweepRun => ({
    runId: `demo-sweep-0000aaaa-${n}`,
    settings: { 'soft.curriculumAlpha': n, 'prompt.noun': '<i>films</i>' },
    phase: 'pending',
    round: 0,
    value: null,
    ...change,
  });
  const runs = [
    run(1, { phase: 'stopped', round: 2, value: 0.1, reason: 'not in the better half after round 2' }),
    run(2, { phase: 'running', round: 3, value: 0.25 }),
    run(3, {}),
  ];
  return {
    status: {
      sweepId: 'demo-sweep-0000aaaa',
      name: 'demo',
      phase: 'running',
      metric: 'hr@10',
      rungs: [2, 4],
      maxParallel: 2,
      budgetSeconds: 3600,
      spent: false,
      runs,
      best: null,
    },
    atWork: { 'demo-sweep-0000aaaa-2': liveLook(40) },
    elapsedSeconds: 75,
  };
}

/** Two finished runs and one at work, a schedule, and the way of `current`; each part can be replaced. */
export function fakeSource(change: Partial<UiSource> = {}): UiSource {
  const at = '2026-11-24T03:20:00.000Z';
  const [a, b] = ['a'.repeat(64), 'b'.repeat(64)];
  const first: AuditRow = {
    at,
    what: 'promote',
    number: 1,
    runId: 'demo-00000001',
    from: null,
    to: a,
    by: 'ana',
    reason: 'first',
    metrics: {},
  };
  const second: AuditRow = {
    ...first,
    number: 2,
    runId: 'demo-00000002',
    from: a,
    to: b,
    by: 'retrain nightly',
    reason: '<b>gain</b>',
    metrics: { gain: 0.012 },
  };
  const kept: AuditRow = { ...second, what: 'kept', number: null, runId: LIVE, from: b, reason: 'within noise' };
  return {
    sweeps: async () => [liveSweep()],
    list: async () => [LIVE, 'demo-00000002', 'demo-00000001'],
    look: async (runId) =>
      runId === LIVE ? liveLook(40) : { status: status(runId, {}), progress: [], elapsedSeconds: 321 },
    file: async (runId, path) => {
      const summary = SUMMARIES.find((candidate) => candidate.runId === runId);
      if (!summary) throw new SoftflowError('RUN_UNFINISHED', `The run ${runId} has no results yet.`);
      return Buffer.from(path === 'summary.json' ? JSON.stringify(summary) : renderReportHtml(summary));
    },
    schedules: async () => [
      {
        name: 'nightly',
        times: ['0 3 * * *'],
        timezone: 'Europe/Berlin',
        paused: false,
        note: null,
        next: '2026-11-26T02:00:00.000Z',
        last: { scheduledAt: '2026-11-25T02:00:00.000Z', workflowId: 'nightly-2026-11-25T02:00:00Z' },
      },
    ],
    releases: async () => [first, second, kept],
    ...change,
  };
}

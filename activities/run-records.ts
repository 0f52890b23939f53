import { dropSnapshot } from '../artifacts/run-sources.ts';
import { recordStatus } from '../artifacts/run-status.ts';
import type { Store } from '../artifacts/store.ts';

/** Kinds of records that the store keeps of a run, besides its status. */
export const RUN_RECORDS = {
  config: 'config',
  start: 'start',
  retrain: 'retrain',
  sweepStart: 'sweep-start',
  sweep: 'sweep',
} as const;

/** Who began a run, when and how. */
export interface StartRecord {
  /** RFC 3339. */
  createdAt: string;
  tags: string[];
  /** What the person named, for instance `recipes/demo.yaml`, or the schedule. */
  recipe?: string;
  /** The sweep that it belongs to. */
  sweep?: string;
}

export interface RunRecord {
  runId: string;
  /** The resolved run config; with the first record. */
  config?: unknown;
  /** With the first record; one that is there already counts. */
  start?: StartRecord;
  /** The run's status as its workflow tells it: of the epochs the last ones. */
  status: unknown;
}

/**
 * Writes where a run stands; the newest status counts, and the first config and start.
 *
 * @returns the whole status
 */
export async function recordRun(store: Store, { runId, config, start, status: told }: RunRecord): Promise<unknown> {
  for (const [kind, value] of [
    [RUN_RECORDS.config, config],
    [RUN_RECORDS.start, start],
  ] as const)
    if (value !== undefined && !(await store.readRunRecord(runId, kind))) await store.putRunRecord(runId, kind, value);
  const status = await recordStatus(store, runId, told, start !== undefined);
  const { steps = [] } = status as { steps?: StepRecord[] };
  const prepared = steps.find(({ step, state }) => step === 'prepareData' && (state === 'run' || state === 'reused'));
  if (prepared?.key !== undefined) await dropSnapshot(store, runId, prepared.key);
  return status;
}

interface StepRecord {
  step: string;
  state: string;
  key?: string;
}

/** Who began a sweep, when, and with what. */
export interface SweepStartRecord {
  /** RFC 3339. */
  createdAt: string;
  /** What its workflow was started with. */
  input: { config: unknown; sweep: unknown };
  recipe?: string;
}

export interface SweepRecord {
  sweepId: string;
  /** With the first record; one that is there already counts. */
  start?: SweepStartRecord;
  /** The sweep's status as its workflow tells it. */
  status: unknown;
}

/** Writes where a sweep stands; the newest status counts, and the first start. */
export async function recordSweep(store: Store, { sweepId, start, status }: SweepRecord): Promise<void> {
  if (start && !(await store.readRunRecord(sweepId, RUN_RECORDS.sweepStart)))
    await store.putRunRecord(sweepId, RUN_RECORDS.sweepStart, start);
  await store.putRunRecord(sweepId, RUN_RECORDS.sweep, status);
  const { prepared, phase } = status as { prepared?: string; phase?: string };
  if (prepared !== undefined || phase === 'completed') await dropSnapshot(store, sweepId, prepared);
}

/** Writes where a retrain stands, beside the records of the run that it trains; the newest counts. */
export async function recordRetrain(
  store: Store,
  { runId, status }: { runId: string; status: unknown },
): Promise<void> {
  await store.putRunRecord(runId, RUN_RECORDS.retrain, status);
  // Of a retrain that did not come to train there is nothing to take up.
  await dropSnapshot(store, runId);
}

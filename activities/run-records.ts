import type { Store } from '../artifacts/store.ts';

/** Kinds of records that the store keeps of a run. */
export const RUN_RECORDS = { config: 'config', status: 'status', start: 'start', retrain: 'retrain' } as const;

/** Who began a run, when and how. */
export interface StartRecord {
  /** RFC 3339. */
  createdAt: string;
  tags: string[];
  /** What the person named, for instance `recipes/demo.yaml`, or the schedule. */
  recipe?: string;
}

export interface RunRecord {
  runId: string;
  /** The resolved run config; with the first record. */
  config?: unknown;
  /** With the first record; one that is there already counts. */
  start?: StartRecord;
  /** The run's status as its workflow tells it. */
  status: unknown;
}

/** Writes where a run stands; the newest status counts, and the first config and start. */
export async function recordRun(store: Store, { runId, config, start, status }: RunRecord): Promise<void> {
  for (const [kind, value] of [
    [RUN_RECORDS.config, config],
    [RUN_RECORDS.start, start],
  ] as const)
    if (value !== undefined && !(await store.readRunRecord(runId, kind))) await store.putRunRecord(runId, kind, value);
  await store.putRunRecord(runId, RUN_RECORDS.status, status);
}

/** Writes where a retrain stands, beside the records of the run that it trains; the newest counts. */
export async function recordRetrain(
  store: Store,
  { runId, status }: { runId: string; status: unknown },
): Promise<void> {
  await store.putRunRecord(runId, RUN_RECORDS.retrain, status);
}

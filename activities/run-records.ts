import type { Store } from '../artifacts/store.ts';

/** Kinds of records that the store keeps of a run. */
export const RUN_RECORDS = { config: 'config', status: 'status', start: 'start' } as const;

export interface RunRecord {
  runId: string;
  /** The resolved run config; with the first record. */
  config?: unknown;
  /** The run's status as its workflow tells it. */
  status: unknown;
}

/** Writes where a run stands; the newest status counts, and the first config. */
export async function recordRun(store: Store, { runId, config, status }: RunRecord): Promise<void> {
  if (config !== undefined && !(await store.readRunRecord(runId, RUN_RECORDS.config)))
    await store.putRunRecord(runId, RUN_RECORDS.config, config);
  await store.putRunRecord(runId, RUN_RECORDS.status, status);
}

import type { ReleaseParams, StepName } from '../activities/contracts.ts';
import type { Store } from '../artifacts/store.ts';
import { type RunConfig, RunConfigSchema } from '../workflows/run-config.ts';
import { hasEnded, type RunStatus, type StepStatus } from '../workflows/run-state.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
/** What a run hands out, which stays whatever its retention says. */
const HANDED_OUT: ReadonlySet<StepName> = new Set(['release', 'renderReport']);

/**
 * Steps that no run wants to stay, by the `retention` of each run's recipe. A step of several runs stays while one of
 * them wants it; so does everything of a run that has not ended or whose records are of another version.
 *
 * @returns step keys; only those that are done
 */
export async function expiredSteps(store: Store, now = Date.now()): Promise<string[]> {
  const kept = new Set<string>();
  const letGo = new Set<string>();
  for (const runId of await store.listRuns()) {
    const status = await store.readRunRecord(runId, 'status');
    const { steps = [] } = (status?.value ?? {}) as Partial<RunStatus>;
    const expired = status ? await expiredOf(store, runId, status, now) : () => false;
    for (const step of steps) if (step.key) (expired(step) ? letGo : kept).add(step.key);
  }
  const keys = [...letGo].filter((key) => !kept.has(key));
  const done = await Promise.all(keys.map(async (key) => (await store.readManifest(key)) !== undefined));
  return keys.filter((_, i) => done[i]);
}

/** Says of each step of a run whether the run lets it go. */
async function expiredOf(
  store: Store,
  runId: string,
  { n, value }: { n: number; value: unknown },
  now: number,
): Promise<(step: StepStatus) => boolean> {
  const { success, data: config } = RunConfigSchema.safeParse((await store.readRunRecord(runId, 'config'))?.value);
  const { phase, steps } = value as RunStatus;
  if (!success || !hasEnded({ phase })) return () => false;
  const endedAt = (await store.runRecordTime(runId, 'status', n)) ?? now;
  const isOld = now - endedAt > (config.retention.days ?? Number.POSITIVE_INFINITY) * DAY_MS;
  const epochs = await epochsToLetGo(store, config, steps);
  return ({ id, step }) => !HANDED_OUT.has(step) && (isOld || epochs.has(id));
}

/** Ids of training steps of a completed run that are neither the chosen epoch nor the last of their stage. */
async function epochsToLetGo(store: Store, { retention }: RunConfig, steps: StepStatus[]): Promise<Set<string>> {
  const release = steps.find(({ step }) => step === 'release')?.key;
  const params = release && (await store.readManifest(release))?.params;
  if (retention.epochs === 'all' || !params) return new Set();
  const { chosen } = params as ReleaseParams;
  const ids = (['sft', 'soft'] as const).flatMap((stage) => {
    const trained = steps.filter(({ id, key }) => key && new RegExp(`^${stage}-\\d+-train$`).test(id));
    const last = trained.at(-1)?.id;
    return trained.map(({ id }) => id).filter((id) => id !== last && id !== `${stage}-${chosen[stage]}-train`);
  });
  return new Set(ids);
}

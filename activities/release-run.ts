import { readRunStatus } from '../artifacts/run-status.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import type { CurriculumRow, LineageStep, Metrics, ReleaseParams, StepName } from './contracts.ts';

interface RecordedRow extends Omit<CurriculumRow, 'validation'> {
  validation: Metrics;
}

/** What is read of a run's record here. */
interface RecordedRun {
  steps: (Omit<LineageStep, 'key'> & { key?: string })[];
  sft: { epoch: number }[];
  curriculum: RecordedRow[];
}

/**
 * The input of a release with all that its run has done. A run of many epochs names the last ones alone, so that what goes
 * through the server stays small; key and release are made of the whole. Other inputs stay as they are.
 *
 * @throws SoftflowError `STORE_DAMAGED` when the run's record has lost epochs
 */
export async function withWholeRun<Input extends { step: StepName | string; params: unknown }>(
  store: Store,
  input: Input,
): Promise<Input> {
  if (input.step !== 'release') return input;
  const { run, ...params } = input.params as ReleaseParams;
  if (run === undefined) return input;
  const recorded = (await readRunStatus(store, run)) as RecordedRun | undefined;
  if (!recorded || !(isWhole(recorded.sft) && isWhole(recorded.curriculum))) throw incomplete(run);
  const steps = wholeLineage(recorded, params.steps);
  return { ...input, params: { ...params, steps, curriculum: wholeCurriculum(recorded, params) } };
}

const isWhole = (rows: readonly { epoch: number }[]): boolean => rows.every(({ epoch }, i) => epoch === i + 1);

/** In the order of the record, which is that of the plan. */
function wholeLineage({ steps }: RecordedRun, told: readonly LineageStep[]): LineageStep[] {
  const own = new Map(told.map((step) => [step.id, step]));
  const known = steps.flatMap(({ id, label, step, key }) => {
    const found = own.get(id) ?? (key === undefined ? undefined : { id, label, step, key });
    own.delete(id);
    return found ?? [];
  });
  return [...known, ...own.values()];
}

function wholeCurriculum({ curriculum }: RecordedRun, { config, curriculum: told }: ReleaseParams): CurriculumRow[] {
  const { metric } = (config as { evaluation: { metric: string } }).evaluation;
  const [kind, k] = metric.split('@') as ['hr' | 'ndcg', string];
  const first = told[0]?.epoch ?? 1;
  const before = curriculum.filter(({ epoch }) => epoch < first);
  return [...before.map((row) => ({ ...row, validation: row.validation[kind][k] as number })), ...told];
}

function incomplete(run: string): SoftflowError {
  return new SoftflowError(
    'STORE_DAMAGED',
    `The record of the run ${run} has lost epochs. Resume the run: its steps are reused, and its record is written anew.`,
    { details: { run } },
  );
}

import type { TrainEpochResult } from '../activities/contracts.ts';
import type { EpochRow } from '../workflows/run-state.ts';
import type { RecordedRun } from './sink.ts';

/** A number of a run at a step: an optimiser step, an epoch, or 0 for what is measured once. */
export interface Scalar {
  /** `sft/train_loss`, `curriculum/lambda`, `test/soft_hr_10`. */
  name: string;
  value: number;
  step: number;
}

/** How many epochs of each stage, and whether the test, have been passed on. */
export interface ScalarCursor {
  sft: number;
  curriculum: number;
  test: boolean;
}

const STAGES = ['sft', 'curriculum'] as const;

/** What has come since `cursor`, and the cursor after it. */
export async function newScalars(
  run: RecordedRun,
  cursor: ScalarCursor = { sft: 0, curriculum: 0, test: false },
): Promise<{ scalars: Scalar[]; cursor: ScalarCursor }> {
  const scalars: Scalar[] = [];
  for (const stage of STAGES)
    for (const row of run.status[stage].slice(cursor[stage]))
      scalars.push(...ofEpoch(stage, row), ...(await ofSteps(run, stage, row.epoch)));
  const metrics = cursor.test ? undefined : await run.file('metrics.json');
  if (metrics !== undefined) scalars.push(...ofTest(JSON.parse(metrics)));
  const { sft, curriculum } = run.status;
  return {
    scalars: scalars.filter(({ value }) => Number.isFinite(value)),
    cursor: { sft: sft.length, curriculum: curriculum.length, test: cursor.test || metrics !== undefined },
  };
}

function ofEpoch(stage: (typeof STAGES)[number], row: EpochRow): Scalar[] {
  const { epoch, trainLoss, lambda, distanceAfter, validation } = row;
  const named: [string, number | null][] = [
    ['train_loss', trainLoss],
    ...(stage === 'curriculum'
      ? ([
          ['lambda', lambda],
          ['distance', distanceAfter],
        ] as [string, number | null][])
      : []),
    ...ranks('validation_', validation),
  ];
  return named.flatMap(([name, value]) => (value === null ? [] : [{ name: `${stage}/${name}`, value, step: epoch }]));
}

async function ofSteps(run: RecordedRun, stage: (typeof STAGES)[number], epoch: number): Promise<Scalar[]> {
  const name = stage === 'sft' ? 'sft' : 'soft';
  const result = (await run.manifest(`${name}-${epoch}-train`))?.result as TrainEpochResult | undefined;
  if (!result) return [];
  const before = result.globalStep - result.stepLosses.length;
  return result.stepLosses.map((value, i) => ({ name: `${stage}/step_loss`, value, step: before + i + 1 }));
}

function ofTest({ models }: { models: Record<string, Ranked | { test: Ranked }> }): Scalar[] {
  return Object.entries(models).flatMap(([model, metrics]) =>
    ranks(`${model}_`, 'test' in metrics ? metrics.test : metrics).map(([name, value]) => ({
      name: `test/${name}`,
      value,
      step: 0,
    })),
  );
}

interface Ranked {
  hr: Record<string, number>;
  ndcg: Record<string, number>;
}

function ranks(prefix: string, metrics: Ranked): [string, number][] {
  return (['hr', 'ndcg'] as const).flatMap((kind) =>
    Object.entries(metrics[kind]).map(([k, value]): [string, number] => [`${prefix}${kind}_${k}`, value]),
  );
}

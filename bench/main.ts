import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Precision } from '../activities/contracts.ts';
import { ensureAll } from '../setup/index.ts';
import { plainReporter } from '../setup/progress.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../workers/backend-choices.ts';
import { type CompareOptions, compare, comparePipelines, TASKS, type Task } from './compare.ts';
import { measureDurability } from './durability.ts';
import { measureFlatness } from './flatness.ts';
import { measureFollowing } from './follow.ts';
import { profileWork } from './profile.ts';
import { ensurePython } from './python.ts';
import { machine, type Results, renderResults, summarize, writeResults } from './results.ts';
import { SCALINGS, type Scaling, scale } from './scaling.ts';
import { median } from './statistics.ts';
import { makeSyntheticWork } from './synthetic.ts';
import { makeWork, type Work, type WorkSize } from './work.ts';

const HELP = `npm run bench -- [options]

  (nothing)            softflow's own times: a training step, generation, title embeddings, both precisions
  --peer               side by side with PyTorch, transformers and PEFT, and the whole pipeline
  --micro              where the time of a training step and of generation goes, by kernel and op
  --steps N            memory and tensor count over N training steps (micro-batch 1 unless --micro-batch says so)
  --follow N           losses of N training steps in bf16 against float32
  --durability         what checkpoints, store and Temporal cost, and how soon a killed trainer is back (one precision)
  --scaling WHAT       time and memory by size: ${SCALINGS.join(', ')}

  --pairs N            pairs of each task (3)
  --prompts N          prompts of the generation (32: one tile of a run; the peer takes 8 at a time)
  --windows N          windows of each part of the pipeline (64)
  --titles N           at most so many titles (all)
  --tasks a,b          of trainStep, generate, encode, pipeline
  --precision p        f32, bf16 or both (both)
  --micro-batch N      samples of a micro-batch of --micro and --steps
  --max N              largest size of --scaling
  --backend NAME       what computes on softflow's side: ${BACKEND_CHOICES.join(', ')} (tensorflow)
  --synthetic          random weights of SmolLM2-135M's shape and random prompts: nothing is fetched
  --peer-device NAME   PyTorch's device: cpu or cuda (cpu)
  --python PATH        an interpreter that has the peer's packages`;

const NEEDS = { tensorflow: true, model: { registry: 'smollm2-135m-instruct' }, data: 'ml-100k' } as const;

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      peer: { type: 'boolean' },
      micro: { type: 'boolean' },
      steps: { type: 'string' },
      follow: { type: 'string' },
      durability: { type: 'boolean' },
      scaling: { type: 'string' },
      pairs: { type: 'string', default: '3' },
      prompts: { type: 'string', default: '32' },
      windows: { type: 'string', default: '64' },
      titles: { type: 'string' },
      tasks: { type: 'string' },
      precision: { type: 'string', default: 'both' },
      'micro-batch': { type: 'string' },
      max: { type: 'string' },
      backend: { type: 'string', default: 'tensorflow' },
      synthetic: { type: 'boolean' },
      'peer-device': { type: 'string', default: 'cpu' },
      python: { type: 'string', default: process.env['SOFTFLOW_BENCH_PYTHON'] },
    },
  });
  if (values.help) return say(HELP);
  warnOfLoad();
  if (values.scaling !== undefined && values.scaling !== 'batch')
    return report(await scale(values.scaling as Scaling, numberOf(values.max), say), `scaling-${values.scaling}`);
  if (values.durability) return durability(values.precision, Number(values.windows));
  const { folder, work } = await prepare(values.synthetic === true, {
    windows: Number(values.windows),
    backend: values.backend as BackendChoice,
    peerDevice: values['peer-device'],
    ...(values.titles !== undefined && { titles: Number(values.titles) }),
  });
  try {
    const precisions = values.precision === 'both' ? (['f32', 'bf16'] as const) : [values.precision as Precision];
    const microBatch = numberOf(values['micro-batch']);
    if (values.micro) for (const precision of precisions) await profileWork(work, precision, microBatch ?? 8, say);
    else if (values.steps !== undefined)
      report(await measureFlatness(work, precisions[0]!, Number(values.steps), microBatch ?? 1, say), 'flatness');
    else if (values.follow !== undefined) report(await measureFollowing(work, Number(values.follow), say), 'follow');
    else if (values.scaling === 'batch')
      report(await scale('batch', numberOf(values.max), say, { work, precision: precisions[0]! }), 'scaling-batch');
    else {
      const tasks = (values.tasks?.split(',') ?? [...TASKS, 'pipeline']) as (Task | 'pipeline')[];
      const python = values.peer ? await ensurePython(values.python, say) : undefined;
      const options: CompareOptions = {
        workFile: join(folder, 'work.json'),
        pairs: Number(values.pairs),
        prompts: Number(values.prompts),
        tasks: tasks.filter((task) => task !== 'pipeline'),
        python,
        say,
      };
      // Without the peer the pipeline is measured only when it is asked for.
      const pipeline = tasks.includes('pipeline') && (values.peer === true || values.tasks !== undefined);
      await measure(options, precisions, pipeline);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function durability(precision: string, windows: number): Promise<void> {
  await ensureAll({ ...NEEDS, temporal: true }, plainReporter(say));
  report(await measureDurability(precision === 'f32' ? 'f32' : 'bf16', windows, say), 'durability');
}

async function prepare(synthetic: boolean, size: WorkSize): Promise<{ folder: string; work: Work }> {
  if (synthetic) return makeSyntheticWork(size);
  await ensureAll(NEEDS, plainReporter(say));
  return makeWork(size);
}

async function measure(options: CompareOptions, precisions: readonly Precision[], pipeline: boolean): Promise<void> {
  const where = machine();
  const details: Results['details'] = {};
  if (options.tasks.length > 0)
    for (const precision of precisions) details[precision] = await compare(precision, options);
  if (pipeline) {
    const best = { peer: fastest(details, 'peer'), softflow: fastest(details, 'softflow') };
    details.pipeline = await comparePipelines(options, best);
  }
  const results = summarize(details, where);
  const minutes = (Date.now() - Date.parse(where.date)) / 60_000;
  say(`\n${renderResults(results)}\nTook ${minutes.toFixed(1)} minutes.`);
  report(results, options.python === undefined ? 'own' : 'latest');
}

/** The precision in which a side trains and generates faster; bf16 where nothing was measured. */
function fastest(details: Results['details'], side: 'peer' | 'softflow'): Precision {
  const time = (precision: Precision) => {
    const { trainStep, generate } = details[precision]?.tasks ?? {};
    return median(trainStep?.[side] ?? []) + median(generate?.[side] ?? []);
  };
  return time('f32') < time('bf16') ? 'f32' : 'bf16';
}

function report(results: object, name: string): void {
  say(`\nWritten to ${writeResults(results, name)}`);
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}

/** Others' work on the same cores makes every time meaningless. */
function warnOfLoad(): void {
  const { load, cores } = machine();
  if (load > 0.25 * cores) say(`Warning: the load of this machine is ${load.toFixed(1)}; times will be too long.`);
}

await main();

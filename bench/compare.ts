import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Precision } from '../activities/contracts.ts';
import { SoftflowError } from '../errors.ts';
import { PEER_SCRIPT } from './python.ts';
import { type Answer, type Request, Side } from './side.ts';

/** What is timed on both sides. */
export const TASKS = ['trainStep', 'generate', 'encode'] as const;
export type Task = (typeof TASKS)[number];

/** Training is steps in a row; the first one after the other side's turn is slower. */
const STEPS_IN_A_ROW = 3;

export interface Timed {
  /** Seconds of each pair, in turn. */
  peer: number[];
  softflow: number[];
}

export interface TrainingRates {
  /** FLOP/s: useful work of the step, and the library's own matrix products. */
  flopRate: number;
  matmulRate: number;
  tokensPerSecond: number;
}

export interface PrecisionResult {
  tasks: Partial<Record<Task, Timed>>;
  /** Of each training step. */
  rates?: TrainingRates[];
  /** Peak of the processes while they trained. */
  rss: { peer?: number; softflow?: number };
  /** How many first beams were the same; in bf16 rounding differs from one library to the other. */
  sameBeams?: string;
  losses: { peer: number; softflow: number }[];
}

export interface CompareOptions {
  workFile: string;
  pairs: number;
  prompts: number;
  tasks: readonly Task[];
  /** The peer's interpreter; without it only softflow is measured. */
  python: string | undefined;
  say: (line: string) => void;
}

/** Relative difference of losses and gradient norms at dropout 0 that counts as equal. bfloat16 has 8 bits. */
const EQUAL = { f32: { loss: 1e-4, gradientNorm: 1e-2 }, bf16: { loss: 0.02, gradientNorm: 0.1 } } as const;
/** Scores are means of log-probabilities a token. */
const EQUAL_SCORE = 1e-3;

export function startSoftflow(workFile: string, precision: Precision, ...rest: string[]): Side {
  const script = fileURLToPath(new URL(`./softflow-process${extname(import.meta.url)}`, import.meta.url));
  return new Side(`softflow ${precision}`, process.execPath, [script, workFile, precision, ...rest]);
}

export function startPeer(python: string, workFile: string, precision: Precision): Side {
  const quiet = { TRANSFORMERS_VERBOSITY: 'error', HF_HUB_DISABLE_PROGRESS_BARS: '1', HF_HUB_OFFLINE: '1' };
  return new Side(`peer ${precision}`, python, [PEER_SCRIPT, workFile, precision], quiet);
}

/** Both sides in one precision, each task by pairs in turn: peer, softflow, peer, softflow. */
export async function compare(precision: Precision, options: CompareOptions): Promise<PrecisionResult> {
  const softflow = startSoftflow(options.workFile, precision);
  const peer = options.python === undefined ? undefined : startPeer(options.python, options.workFile, precision);
  const result: PrecisionResult = { tasks: {}, rss: {}, losses: [] };
  try {
    await softflow.ready();
    await peer?.ready();
    for (const task of TASKS.filter((each) => options.tasks.includes(each))) {
      await measure(task, precision, { softflow, peer }, options, result);
    }
    return result;
  } finally {
    await Promise.all([softflow.end(), peer?.end()]);
  }
}

type Sides = { softflow: Side; peer: Side | undefined };

async function measure(
  task: Task,
  precision: Precision,
  sides: Sides,
  options: CompareOptions,
  result: PrecisionResult,
): Promise<void> {
  const timed: Timed = { peer: [], softflow: [] };
  result.tasks[task] = timed;
  const steps: TrainingRates[] = [];
  for (let pair = 0; pair < options.pairs; pair++) {
    const request = requestOf(task, pair, options);
    // The step without dropout proves equal losses; the first of them warms both sides up as well.
    if (task === 'trainStep') result.losses.push(await equalLosses(sides, precision, pair * 8));
    else if (pair === 0) await warmUp(sides);
    const theirs = await sides.peer?.ask(request);
    const ours = await sides.softflow.ask(request);
    if (theirs) timed.peer.push(theirs.seconds);
    timed.softflow.push(ours.seconds);
    if (theirs) checkAnswers(task, precision, theirs, ours, result);
    options.say(line(task, precision, theirs, ours));
    if (task === 'trainStep') {
      steps.push(await trainingRates(sides.softflow, ours));
      result.rss.softflow = ours.peakRssBytes;
      if (theirs) result.rss.peer = theirs.peakRssBytes;
    }
  }
  if (task === 'trainStep') result.rates = steps;
}

function requestOf(task: Task, pair: number, { prompts }: CompareOptions): Request {
  if (task === 'trainStep') return { do: 'trainStep', first: pair * 8, steps: STEPS_IN_A_ROW };
  return task === 'generate' ? { do: 'generate', prompts } : { do: 'encode' };
}

/** Libraries choose and prepare their kernels at the first call. */
async function warmUp({ softflow, peer }: Sides): Promise<void> {
  await peer?.ask({ do: 'generate', prompts: 1 });
  await softflow.ask({ do: 'generate', prompts: 1 });
}

async function equalLosses({ softflow, peer }: Sides, precision: Precision, first: number) {
  const ours = await softflow.ask({ do: 'loss', first });
  if (peer === undefined) return { peer: Number.NaN, softflow: ours.loss! };
  const theirs = await peer.ask({ do: 'loss', first });
  for (const figure of ['loss', 'gradientNorm'] as const)
    requireEqual(`${figure} in ${precision}`, theirs[figure]!, ours[figure]!, EQUAL[precision][figure]);
  return { peer: theirs.loss!, softflow: ours.loss! };
}

/** Same result on both sides, else the times say nothing. */
function checkAnswers(task: Task, precision: Precision, theirs: Answer, ours: Answer, result: PrecisionResult): void {
  if (task === 'encode') requireEqual('mean length of the embeddings', theirs.norm!, ours.norm!, EQUAL[precision].loss);
  if (task !== 'generate') return;
  const pairs = ours.beams!.map((beam, i) => ({ ours: beam, theirs: theirs.beams![i]! }));
  const same = pairs.filter((pair) => pair.ours.ids.join() === pair.theirs.ids.join()).length;
  result.sameBeams = `${same} of ${pairs.length}`;
  if (precision === 'bf16') return;
  for (const pair of pairs)
    if (Math.abs(pair.ours.score - pair.theirs.score) > EQUAL_SCORE)
      throw unequal('score of the first beam', pair.theirs.score, pair.ours.score, EQUAL_SCORE);
}

function requireEqual(what: string, theirs: number, ours: number, tolerance: number): void {
  if (!(Math.abs(ours - theirs) <= tolerance * Math.abs(theirs))) throw unequal(what, theirs, ours, tolerance);
}

function unequal(what: string, theirs: number, ours: number, tolerance: number): SoftflowError {
  return new SoftflowError(
    'BENCH_UNEQUAL',
    `The two sides do not compute the same: expected the ${what} of softflow within ${tolerance} of the peer's ` +
      `${theirs}, got ${ours}. Times are not compared.`,
    { details: { what, theirs, ours, tolerance } },
  );
}

/** The rate of matrix products is measured right after each step, so that both see the same machine. */
async function trainingRates(softflow: Side, { seconds, tokens, flops }: Answer): Promise<TrainingRates> {
  const { rate } = await softflow.ask({ do: 'matmulRate', tokens: tokens! });
  return { flopRate: flops! / seconds, matmulRate: rate!, tokensPerSecond: tokens! / seconds };
}

function line(task: Task, precision: Precision, theirs: Answer | undefined, ours: Answer): string {
  const peer = theirs ? `peer ${theirs.seconds.toFixed(2)} s, ` : '';
  const ratio = theirs ? `, ratio ${(theirs.seconds / ours.seconds).toFixed(2)}` : '';
  return `${task} ${precision}: ${peer}softflow ${ours.seconds.toFixed(2)} s${ratio}`;
}

/** The pipeline once on each side, in fresh processes. */
export async function comparePipelines(
  { workFile, python, say }: CompareOptions,
  precisions: { peer: Precision; softflow: Precision },
): Promise<{ peer?: Answer; softflow: Answer }> {
  const run = async (side: Side) => {
    try {
      await side.ready();
      const answer = await side.ask({ do: 'pipeline' });
      const parts = Object.entries(answer.parts!).map(([part, seconds]) => `${part} ${seconds.toFixed(1)}`);
      say(`pipeline, ${side.name}: ${answer.seconds.toFixed(1)} s (${parts.join(', ')})`);
      return answer;
    } finally {
      await side.end();
    }
  };
  const peer = python === undefined ? undefined : await run(startPeer(python, workFile, precisions.peer));
  const softflow = await run(startSoftflow(workFile, precisions.softflow, 'pipeline'));
  return { ...(peer && { peer }), softflow };
}

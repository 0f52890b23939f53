import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Metrics, StepInput, TrainEpochResult } from '../../../activities/contracts.ts';
import { JOBS } from '../../../activities/jobs/index.ts';
import { DrainedError } from '../../../activities/trainer-protocol.ts';
import type { ArtifactRef } from '../../../artifacts/artifact-ref.ts';
import { latestCheckpoint } from '../../../artifacts/checkpoints.ts';
import { comparePositions } from '../../../artifacts/names.ts';
import { openStore, type Store } from '../../../artifacts/store.ts';
import { decodeTrainingState } from '../../../model/training-state.ts';
import { openTensorflow } from '../../model/reference.ts';
import { faultFigure } from '../../support/fault-figures.ts';
import { contextOf, FINGERPRINT, GENERATION, LORA, PROMPT, runStep, stepInput, Workshop } from './fixtures.ts';

/** What became of a run that was killed in a save: the verdicts of ckpt-chaos. */
type Verdict = 'PASS' | 'HARD_FAIL' | 'SILENT_DIVERGENCE' | 'LOST_WORK';

/** A run of the second epoch and the evaluation after it: all that must come out the same. */
interface Outcome {
  /** Digests of the training state (adapter, moments) and of the adapter. */
  trained: Record<string, string>;
  figures: TrainEpochResult;
  metrics: Metrics;
}

/** Checkpoints are saved at borders 2, 3 and 4 of the epoch; the third save is the one that is killed. */
const SAVED = [2, 1, 0];
const KILLED = [2, 1, 1];

let workshop: Workshop;
let tables: Record<'items' | 'titles' | 'windows' | 'distilled', ArtifactRef>;
let embeddings: ArtifactRef;
/** Figures of the first epoch. */
let before: TrainEpochResult;
let epoch: StepInput<unknown>;
let undisturbed: Outcome;
/** A store in which two checkpoints of the epoch were saved. */
let halfway: Store;
/** What the killed save is given. */
let save: { file: string; blob: string };

beforeAll(async () => {
  const build = (await import(new URL('../../../bin/build.mjs', import.meta.url).href)) as { buildIfStale(): boolean };
  build.buildIfStale();
  await openTensorflow();
  workshop = await Workshop.open();
  halfway = await workshop.newStore();
  tables = await workshop.putTables(halfway);
  await prepareInputs();
  const whole = await copyOf(halfway, 'whole');
  undisturbed = await resume(whole);
  for (const drainAt of [2, 2]) await drain(halfway, drainAt);
  const ahead = await copyOf(halfway, 'ahead');
  await drain(ahead, 2);
  await writeSave(ahead);
});
afterAll(() => workshop.remove());

async function prepareInputs(): Promise<void> {
  const { items, titles, windows, distilled } = tables;
  const encoding = stepInput('encodeTitles', { titles }, { ...workshop.model, tileRows: 3 });
  embeddings = (await runStep(JOBS, encoding, contextOf(halfway))).outputs['embeddings'] as ArtifactRef;
  const first = stepInput('trainEpoch', { items, windows, distilled }, workshop.training);
  const { outputs, result } = await runStep<TrainEpochResult>(JOBS, first, contextOf(halfway));
  before = result;
  const inputs = { items, windows, distilled, state: outputs['state'] as ArtifactRef };
  epoch = stepInput('trainEpoch', inputs, { ...workshop.training, epoch: 2 });
}

async function copyOf(store: Store, name: string): Promise<Store> {
  const root = join(workshop.folder, name);
  await cp(store.root, root, { recursive: true });
  return openStore(root);
}

/** Trains on until the n-th border from here, saves there and stops. */
async function drain(store: Store, drainAt: number): Promise<void> {
  await expect(JOBS.trainEpoch!(epoch, contextOf(store, { drainAt }))).rejects.toThrow(DrainedError);
}

async function writeSave(store: Store): Promise<void> {
  const checkpoint = await latestCheckpoint(store, epoch.key);
  expect(checkpoint?.position).toEqual(KILLED);
  save = { file: join(workshop.folder, 'save.json'), blob: join(workshop.folder, 'save.blob') };
  await writeFile(save.file, JSON.stringify({ key: epoch.key, position: KILLED, fingerprint: FINGERPRINT }));
  await writeFile(save.blob, await store.getBytes(checkpoint!.blob));
}

/** Goes on from whatever is in the store to the end of the epoch, and evaluates the adapter. */
async function resume(store: Store): Promise<Outcome> {
  const { outputs, result } = await runStep<TrainEpochResult>(JOBS, epoch, contextOf(store));
  const { items, titles, windows } = tables;
  const params = { ...workshop.model, prompt: PROMPT, lora: LORA, generation: GENERATION, ks: [1, 5, 7] };
  const inputs = { items, titles, windows, embeddings, adapter: outputs['adapter'] as ArtifactRef };
  const evaluated = await runStep<Metrics>(JOBS, stepInput('evaluate', inputs, params), contextOf(store));
  const trained = Object.fromEntries(Object.entries(outputs).map(([name, { sha256 }]) => [name, sha256]));
  return { trained, figures: result, metrics: evaluated.result };
}

function startSave(root: string, k: number, moment: string): ChildProcess {
  const script = fileURLToPath(new URL('crash-child.mjs', import.meta.url));
  const parts = [script, root, String(k), moment, save.file, save.blob];
  return spawn(process.execPath, parts, { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Every moment of every file operation of the save. */
async function crashPoints(): Promise<{ k: number; moment: string }[]> {
  const child = startSave((await copyOf(halfway, 'counted')).root, 0, 'before');
  const operations = JSON.parse(await text(child.stdout!)) as string[];
  const moments = (name: string) => (name === 'write' ? ['before', 'half', 'after'] : ['before', 'after']);
  return operations.flatMap((name, index) => moments(name).map((moment) => ({ k: index + 1, moment })));
}

/** Kills a save there in a copy of the store; returns the copy. */
async function killSave({ k, moment }: { k: number; moment: string }): Promise<Store> {
  const { root } = await copyOf(halfway, `${k}-${moment}`);
  const [, signal] = (await once(startSave(root, k, moment), 'exit')) as [number | null, string | null];
  expect([k, moment, signal]).toEqual([k, moment, 'SIGKILL']);
  return openStore(root);
}

async function judge(store: Store): Promise<{ verdict: Verdict; from: string }> {
  const position = (await latestCheckpoint(store, epoch.key))?.position ?? [];
  const from = position.join('.');
  try {
    const outcome = await resume(store);
    const equal = JSON.stringify(outcome) === JSON.stringify(undisturbed);
    if (!equal) return { verdict: 'SILENT_DIVERGENCE', from };
    return { verdict: comparePositions(position, SAVED) < 0 ? 'LOST_WORK' : 'PASS', from };
  } catch {
    return { verdict: 'HARD_FAIL', from };
  }
}

test('A process killed before, half-way into and after every file operation of a checkpoint save: the resumed run ends with the same adapter, moments and metrics. (R1)', async (context) => {
  const points = await crashPoints();
  expect(points.length).toBeGreaterThan(40);
  const judged: { verdict: Verdict; from: string }[] = [];
  for (const point of points) judged.push(await judge(await killSave(point)));

  const counted = (verdict: Verdict) => judged.filter((entry) => entry.verdict === verdict).length;
  const figure = (['PASS', 'HARD_FAIL', 'SILENT_DIVERGENCE', 'LOST_WORK'] as const).map((v) => `${v} ${counted(v)}`);
  faultFigure(context, points.length, `real processes killed, runs resumed: ${figure.join(', ')}`);
  expect(judged.filter(({ verdict }) => verdict !== 'PASS')).toEqual([]);
  // From the save before until this one is there, and from this one after that.
  const places = judged.map(({ from }) => from);
  expect(new Set(places)).toEqual(new Set([SAVED.join('.'), KILLED.join('.')]));
  expect(places).toEqual([...places].sort());
});

test('The undisturbed run has learnt something, so that equal bytes mean something.', async () => {
  expect(undisturbed.figures.trainLoss).toBeLessThan(before.trainLoss);
  const store = await openStore(join(workshop.folder, 'whole'));
  const state = (await store.readManifest(epoch.key))?.outputs['state'] as ArtifactRef;
  const { parameters } = await decodeTrainingState(await store.getBytes(state));
  const moved = [...parameters].filter(([name]) => name.includes('lora_B'));
  expect(moved.length).toBeGreaterThan(0);
  for (const [, { data }] of moved) expect(data.some((value) => value !== 0)).toBe(true);
});

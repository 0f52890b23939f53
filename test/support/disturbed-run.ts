import { join } from 'node:path';
import type { WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import type { StepTelemetry } from '../../activities/contracts.ts';
import { latestCheckpoint } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { listTiles } from '../../artifacts/tiles.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { type HoldPoint, Holds } from './hold-points.ts';
import { startSoft } from './soft-run.ts';
import type { TestServer } from './temporal.ts';
import { gone, WorkerProcess } from './worker-process.ts';

const HELD_JOBS = new URL('./held-jobs.ts', import.meta.url).href;

export type Victims = 'trainer' | 'worker' | 'both';

/** Where a kill hit. */
export interface Kill {
  step: string;
  victims: Victims;
  signal: string;
  /** The unit of work in progress, and how far into the attempt it was. */
  position: string;
  moment: number;
  /** The furthest checkpoint, or the number of tiles, that was saved of this step. */
  saved: string;
  savedTiles: number;
  /** Rows of the saved tiles, which nobody may have to compute again. */
  reusedRows: number;
  /** The step had saved something, and had unsaved work in progress. */
  strictlyBetween: boolean;
  /** Until victims, and a trainer without its worker, were gone. */
  drainSeconds: number;
}

/** A planned kill: a moment of a step, by its id in the run. */
export interface PlannedKill {
  step: string;
  moment: number;
  position?: string;
  victims: Victims;
  signal?: NodeJS.Signals;
}

/**
 * A run of its own store and queues, whose tensor steps are computed by real worker and trainer processes that can be
 * killed at chosen moments. The workflow's own queue is served by the test's process.
 */
export class DisturbedRun {
  readonly name: string;
  readonly holds: Holds;
  readonly storeRoot: string;
  readonly workers: WorkerProcess[] = [];
  readonly kills: Kill[] = [];
  readonly #server: TestServer;
  readonly #workflowWorker: RunningWorker;

  private constructor(server: TestServer, name: string, storeRoot: string, holds: Holds, worker: RunningWorker) {
    this.#server = server;
    this.name = name;
    this.storeRoot = storeRoot;
    this.holds = holds;
    this.#workflowWorker = worker;
  }

  static async open(
    server: TestServer,
    folder: string,
    name: string,
    plan: readonly HoldPoint[] = [],
  ): Promise<DisturbedRun> {
    const storeRoot = join(folder, name, 'store');
    const worker = await startWorker({ target: server.target, queues: ['workflow'], taskQueue: name, storeRoot });
    return new DisturbedRun(server, name, storeRoot, new Holds(join(folder, name, 'holds'), plan), worker);
  }

  /** One more worker of the cpu and gpu queues, with a trainer of its own. */
  addWorker(env: Record<string, string> = {}): WorkerProcess {
    const worker = new WorkerProcess(
      this.#server,
      this.storeRoot,
      this.name,
      { HOLD_FOLDER: this.holds.folder, ...env },
      HELD_JOBS,
    );
    this.workers.push(worker);
    return worker;
  }

  start(
    config: RunConfigInput,
    workflowId?: string,
  ): Promise<WorkflowHandleWithFirstExecutionRunId<typeof softWorkflow>> {
    return startSoft(this.#server, this.name, { config, ...(workflowId ? { workflowId } : {}) });
  }

  store(): Promise<Store> {
    return openStore(this.storeRoot);
  }

  /** Digest of every file that the run hands out and that does not tell of circumstances. */
  async digests({ steps }: RunStatus): Promise<Record<string, string>> {
    const key = steps.find(({ step }) => step === 'release')?.key as string;
    const outputs = (await (await this.store()).readManifest(key))?.outputs ?? {};
    return Object.fromEntries(Object.entries(outputs).map(([path, { sha256 }]) => [path, sha256]));
  }

  /**
   * Waits until a trainer stands at the hold point and kills it, its worker or both; a killed worker is followed by
   * another one. Nothing that was killed, nor a trainer whose worker is gone, is running when this returns.
   */
  async kill(index: number, key: string, { step, victims, signal = 'SIGKILL' }: PlannedKill): Promise<Kill> {
    const { position, moment, inside, done, pid } = await this.holds.held(index);
    const worker = this.workers.find((each) => each.children().some((child) => child.pid === pid)) as WorkerProcess;
    const trainer = await worker.trainer();
    const store = await this.store();
    const checkpoint = await latestCheckpoint(store, key);
    const savedTiles = (await listTiles(store, key)).length;
    const saved = checkpoint ? `checkpoint ${checkpoint.position.join('.')}` : `${savedTiles} tiles`;
    const began = performance.now();
    if (victims !== 'worker') process.kill(trainer.pid, signal);
    if (victims !== 'trainer') worker.process.kill(signal);
    this.holds.release(index);
    if (victims !== 'trainer') await worker.exited;
    // It may be in the middle of a micro-batch.
    await gone(trainer, 120);
    const drainSeconds = (performance.now() - began) / 1000;
    if (victims !== 'trainer') this.addWorker();
    const strictlyBetween = inside && (checkpoint !== undefined || savedTiles > 0);
    const reusedRows = checkpoint ? 0 : done;
    const kill = {
      step,
      victims,
      signal,
      position,
      moment,
      saved,
      savedTiles,
      reusedRows,
      strictlyBetween,
      drainSeconds,
    };
    this.kills.push(kill);
    return kill;
  }

  /** How many rows each attempt that went on with a step of tiles found done: on a busy machine one may time out. */
  async resumedRows(key: string): Promise<number[]> {
    return (await (await this.store()).readTelemetry(key))
      .map((entry) => (entry as StepTelemetry & { resumed?: string }).resumed)
      .filter((resumed) => resumed !== undefined)
      .map((resumed) => Number(/(\d+) of \d+/.exec(resumed)?.[1]));
  }

  async close(): Promise<void> {
    this.holds.releaseAll();
    await Promise.all(this.workers.map((worker) => worker.stop()));
    this.#workflowWorker.shutdown();
    await this.#workflowWorker.done;
  }
}

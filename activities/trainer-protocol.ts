import * as z from 'zod';
import type { Store } from '../artifacts/store.ts';
import type { JobName, ModelFiles, ModelSource, Progress, StepInput, StepResult } from './contracts.ts';

/**
 * Messages between the Temporal worker (relay) and the trainer process. They carry references and small numbers only.
 * Both sides parse what they receive: the channel is a process border.
 */
export const ToTrainerSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('job'),
    id: z.string(),
    input: z.custom<StepInput<unknown>>((v) => typeof v === 'object'),
    /** Where the files of the job's model lie. The worker has fetched them: the trainer has neither network nor tokens. */
    model: z.custom<ModelFiles>((v) => typeof v === 'object'),
  }),
  /** Finish the micro-batch or tile, write what is done, answer `drained`. */
  z.object({ type: z.literal('drain'), id: z.string() }),
]);
export type ToTrainer = z.infer<typeof ToTrainerSchema>;

export const FromTrainerSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), fingerprint: z.record(z.string(), z.string()), backend: z.string() }),
  z.object({ type: z.literal('progress'), id: z.string(), progress: z.custom<Progress>((v) => typeof v === 'object') }),
  /** A sign of life without a position to show (one per decode step or micro-batch). */
  z.object({ type: z.literal('alive'), id: z.string() }),
  /** A checkpoint is in the store. */
  z.object({ type: z.literal('saved'), id: z.string(), seconds: z.number(), bytes: z.number() }),
  z.object({
    type: z.literal('done'),
    id: z.string(),
    result: z.custom<StepResult<unknown> | null>((v) => typeof v === 'object'),
  }),
  z.object({ type: z.literal('drained'), id: z.string(), position: z.string() }),
  z.object({
    type: z.literal('failed'),
    id: z.string(),
    code: z.string(),
    message: z.string(),
    retryable: z.boolean(),
    details: z.record(z.string(), z.unknown()),
  }),
]);
export type FromTrainer = z.infer<typeof FromTrainerSchema>;

/** How long a checkpoint took to write, and its size. */
export interface SavedCheckpoint {
  seconds: number;
  bytes: number;
}

/** What a job body is given by the trainer process. */
export interface JobContext {
  store: Store;
  /** Which library computes, on what: in every checkpoint and manifest, never in a key. */
  fingerprint: Record<string, string>;
  /** Where the files of the job's model lie on this machine. */
  modelFiles(source: ModelSource): Promise<ModelFiles>;
  progress(progress: Progress): void;
  alive(): void;
  /** Tells of a checkpoint that is in the store. */
  saved(checkpoint: SavedCheckpoint): void;
  /**
   * Lets messages and signals in, which tensor code otherwise keeps out; to be awaited at each border (micro-batch, tile,
   * decode step). `draining` learns nothing new without it.
   */
  breathe(): Promise<void>;
  /** True once the job should stop at the next border and save what is done; it then throws `DrainedError`. */
  draining(): boolean;
}

/** Thrown by a job body that stopped at a border on request; everything done is saved. */
export class DrainedError extends Error {
  readonly position: string;
  constructor(position: string) {
    super(`drained at ${position}`);
    this.name = 'DrainedError';
    this.position = position;
  }
}

/** Null only from a shard that ended while tiles of other shards were missing. */
export type Job = (input: StepInput<unknown>, context: JobContext) => Promise<StepResult<unknown> | null>;
export type Jobs = Partial<Record<JobName, Job>>;

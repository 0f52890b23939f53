import { chmod, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PrepareDataResult, Progress, StepResult } from '../activities/contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { splitHash } from '../artifacts/split-hash.ts';
import type { Store } from '../artifacts/store.ts';
import { prepareDataParams, sourceNames } from '../client/plan-run.ts';
import type { DatasetCard } from '../datasets/prepare.ts';
import { prepareOnMachine } from '../workers/prepare-ahead.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { writeWholeFolder } from './whole-folder.ts';

export interface PrepareRunOptions {
  store: Store;
  /** A folder for the tables, new or empty. */
  output?: string;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** Prepared data, as far as people want to know. */
export interface PreparedRun extends Pick<DatasetCard, 'counts' | 'times' | 'source'> {
  /** Of the step `prepareData`. */
  key: string;
  /** Whether it was done before. */
  reused: boolean;
  seconds: number;
  /** The same where windows and items are the same. */
  splitHash: string;
  /** Of the catalogue. */
  titles: number;
  /** Drawn ones; `counts` has all. */
  windows: Record<'train' | 'valid' | 'test', number>;
  written?: { folder: string; files: string[] };
}

type Prepared = StepResult<PrepareDataResult>;

/**
 * Prepares the data of a run ahead of it, on this machine: a run with this config and store finds the step done.
 * @throws SoftflowError `USAGE`, `OUTPUT_NOT_WRITTEN`, and those of the data
 */
export async function prepareRun(config: RunConfig, options: PrepareRunOptions): Promise<PreparedRun> {
  const { store, output, ...calls } = options;
  const step = await prepareOnMachine(store, sourceNames(config), (found) => prepareDataParams(config, found), calls);
  const { key, reused, outputs, result, telemetry } = step;
  const card = JSON.parse(Buffer.from(await store.getBytes(outputs['card'] as ArtifactRef)).toString()) as DatasetCard;
  return {
    ...{ key, reused, seconds: telemetry.seconds, splitHash: splitHash(outputs) },
    ...{ titles: result.titles, windows: result.windows },
    ...{ counts: card.counts, times: card.times, source: card.source },
    ...(output === undefined ? {} : { written: await writeTables(store, step, output) }),
  };
}

/** File names of the outputs. */
const FILES: Record<string, string> = {
  interactions: 'interactions.arrow',
  items: 'items.arrow',
  titles: 'titles.arrow',
  windowsTrain: 'windows-train.arrow',
  windowsValid: 'windows-valid.arrow',
  windowsTest: 'windows-test.arrow',
  card: 'dataset-card.json',
};

async function writeTables(store: Store, { outputs }: Prepared, folder: string) {
  const { files } = await writeWholeFolder(folder, async (temporary) => {
    for (const [name, file] of Object.entries(FILES)) {
      const path = join(temporary, file);
      await copyFile(await store.pathOf(outputs[name] as ArtifactRef), path);
      // A file of the store is read only, and its owner's alone.
      await chmod(path, 0o644);
    }
  });
  return { folder, files };
}

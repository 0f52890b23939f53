import { chmod, copyFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { PrepareDataResult, StepResult } from '../../activities/contracts.ts';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { splitHash } from '../../artifacts/split-hash.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { prepareDataParams, sourceNames } from '../../client/plan-run.ts';
import type { DatasetCard } from '../../datasets/prepare.ts';
import { SoftflowError } from '../../errors.ts';
import { prepareOnMachine } from '../../workers/prepare-ahead.ts';
import type { RunConfig } from '../../workflows/run-config.ts';
import { type LoadedConfig, loadConfigFile, parseConfig } from '../config-file.ts';
import { EXIT } from '../exit-codes.ts';
import { openJobView } from '../job-view.ts';
import { type PreparedReport, renderPrepared } from '../prepared-view.ts';
import { STORE_FOLDER } from '../session.ts';
import { runSetup, setupNeeds } from '../setup-run.ts';
import type { Terminal } from '../terminal.ts';
import { requireFree, writeWholeFolder } from '../whole-folder.ts';
import { recipeFromData } from './init.ts';

export interface PrepareOptions {
  set: string[];
  /** Titles, beside a data file. */
  items?: string;
  output?: string;
  json?: boolean;
}

type Prepared = StepResult<PrepareDataResult>;

/**
 * Prepares the data of a recipe as its run would, and nothing else; a run then finds that step done. A data file stands
 * for the recipe that `softflow init` would make of it.
 */
export async function prepare(path: string, options: PrepareOptions, terminal: Terminal): Promise<number> {
  const { config, file } = await loadRecipe(path, options);
  const { output } = options;
  if (output !== undefined) await requireFree(output);
  const { data } = setupNeeds(config);
  await runSetup(data ? { data } : {}, terminal);
  const store = await openStore(STORE_FOLDER, { create: true });
  const step = await prepareWithView(store, config, options, terminal);
  const written = output === undefined ? undefined : await writeTables(store, step, output);
  const report = await reportOf(store, relative(process.cwd(), file), step, written);
  if (options.json) terminal.out(JSON.stringify(report, null, 2));
  else for (const line of renderPrepared(report, terminal)) terminal.out(line);
  return EXIT.ok;
}

async function loadRecipe(path: string, { set, items }: PrepareOptions): Promise<LoadedConfig> {
  if (/\.ya?ml$/i.test(path)) {
    if (items === undefined) return loadConfigFile(path, { overrides: set });
    throw new SoftflowError('USAGE', 'A recipe names its items itself; --items goes with a data file.');
  }
  const { text } = await recipeFromData('softflow.yaml', path, items === undefined ? {} : { items });
  const file = resolve('softflow.yaml');
  return { config: parseConfig(text, { overrides: set, file, shown: path }), file: resolve(path) };
}

async function prepareWithView(
  store: Store,
  config: RunConfig,
  options: PrepareOptions,
  terminal: Terminal,
): Promise<Prepared> {
  const view = openJobView(terminal, options);
  try {
    return await prepareOnMachine(store, sourceNames(config), (found) => prepareDataParams(config, found), view);
  } finally {
    view.end();
  }
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

async function reportOf(
  store: Store,
  recipe: string,
  { key, reused, outputs, result, telemetry }: Prepared,
  written: PreparedReport['written'],
): Promise<PreparedReport> {
  const card = JSON.parse(Buffer.from(await store.getBytes(outputs['card'] as ArtifactRef)).toString()) as DatasetCard;
  return {
    ...{ recipe, key, reused, seconds: telemetry.seconds },
    ...{ splitHash: splitHash(outputs), titles: result.titles, windows: result.windows },
    ...{ counts: card.counts, times: card.times, source: card.source },
    ...(written ? { written } : {}),
  };
}

import { relative, resolve } from 'node:path';
import { openStore } from '../../artifacts/store.ts';
import { SoftflowError } from '../../errors.ts';
import { type LoadedConfig, loadConfigFile, parseConfig } from '../config-file.ts';
import { EXIT } from '../exit-codes.ts';
import { openJobView } from '../job-view.ts';
import { prepareRun } from '../prepare-run.ts';
import { renderPrepared } from '../prepared-view.ts';
import { STORE_FOLDER } from '../session.ts';
import { runSetup, setupNeeds } from '../setup-run.ts';
import type { Terminal } from '../terminal.ts';
import { requireFree } from '../whole-folder.ts';
import { recipeFromData } from './init.ts';

export interface PrepareOptions {
  set: string[];
  /** Titles, beside a data file. */
  items?: string;
  output?: string;
  json?: boolean;
}

/**
 * Prepares the data of a recipe as its run would, and nothing else; a run then finds that step done. A data file stands
 * for the recipe that `softflow init` would make of it.
 */
export async function prepare(path: string, options: PrepareOptions, terminal: Terminal): Promise<number> {
  const { config, file } = await loadRecipe(path, options);
  const { output, json } = options;
  if (output !== undefined) await requireFree(output);
  const { data } = setupNeeds(config);
  await runSetup(data ? { data } : {}, terminal);
  const store = await openStore(STORE_FOLDER, { create: true });
  const view = openJobView(terminal, options);
  const { onProgress, signal } = view;
  const prepared = await prepareRun(config, {
    ...{ store, onProgress, signal },
    ...(output === undefined ? {} : { output }),
  }).finally(() => view.end());
  const report = { recipe: relative(process.cwd(), file), ...prepared };
  if (json) terminal.out(JSON.stringify(report, null, 2));
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

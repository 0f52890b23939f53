import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { encodeRecord } from '../../artifacts/record-series.ts';
import { openStore } from '../../artifacts/store.ts';
import { listTiles, putTile } from '../../artifacts/tiles.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { bytesOf, FINGERPRINT, KEY, manifestOf, OTHER_KEY } from './fixtures.ts';

/**
 * Stores as each version wrote them: `{path: base64}`. Before a release that changes what a store holds,
 * `SOFTFLOW_RECORD_STORE=<version> npx vitest run test/artifacts/upgrade.test.ts` adds the one of that version.
 */
const STORES = new URL('./stores/', import.meta.url);
const VERSIONS = readdirSync(STORES).map((file) => file.replace('.json', ''));
const RECORDED = process.env['SOFTFLOW_RECORD_STORE'];

const folder = mkdtempSync(join(tmpdir(), 'softflow-upgrade-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** One thing of each kind: of a finished step, of one at work, of a run. */
async function fill(root: string): Promise<void> {
  const store = await openStore(root, { create: true });
  const titles = await store.putBytes(bytesOf('titles'));
  await store.writeManifest(KEY, manifestOf(KEY, { titles }));
  for (const step of [1, 2]) await saveCheckpoint(store, OTHER_KEY, checkpoint(step));
  await putTile(store, OTHER_KEY, 0, { bytes: bytesOf('tile'), meta: { rows: 8 }, fingerprint: FINGERPRINT });
  await store.addTelemetry(OTHER_KEY, { runId: 'run', seconds: 1, resumes: 0 });
  await store.countDeath(OTHER_KEY, [1, 2], { signal: 'SIGKILL' });
  await store.advanceRef('current', 0, { runId: 'run' });
  await store.putRunRecord('run', 'config', { name: 'kept' });
}

const checkpoint = (step: number) => ({
  position: [1, step, 0],
  fingerprint: FINGERPRINT,
  blob: bytesOf(`checkpoint ${step}`),
});

async function unpack(version: string): Promise<string> {
  const root = join(folder, version);
  const files = JSON.parse(readFileSync(new URL(`${version}.json`, STORES), 'utf8')) as Record<string, string>;
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true, mode: 0o700 });
    await writeFile(join(root, path), Buffer.from(content, 'base64'));
    await chmod(join(root, path), 0o400);
  }
  return root;
}

test.runIf(RECORDED)('records a store', async () => {
  const root = join(folder, 'recorded');
  await fill(root);
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  const files = paths.filter((path) => statSync(join(root, path)).isFile());
  const content = Object.fromEntries(files.map((path) => [path, readFileSync(join(root, path)).toString('base64')]));
  writeFileSync(new URL(`${RECORDED}.json`, STORES), `${JSON.stringify(content, null, 2)}\n`);
});

test('A store of every version opens, is whole, and is gone on with. (R21)', async (context) => {
  expect(VERSIONS).toContain('0.1.0');
  for (const version of VERSIONS) {
    const root = await unpack(version);
    expect((await verifyStore(await openStore(root, { readOnly: true }), { readData: true })).findings).toEqual([]);
    const store = await openStore(root);
    const manifest = await store.readManifest(KEY);
    expect(bytesOf('titles').equals(await store.getBytes(manifest!.outputs['titles']!))).toBe(true);
    expect((await store.readRef('current'))?.value).toEqual({ runId: 'run' });
    expect((await store.readRunRecord('run', 'config'))?.value).toEqual({ name: 'kept' });
    expect(await store.readTelemetry(OTHER_KEY)).toHaveLength(1);
    expect(await store.deathsAt(OTHER_KEY, [1, 2])).toEqual([{ signal: 'SIGKILL' }]);
    expect(await listTiles(store, OTHER_KEY)).toMatchObject([{ index: 0, meta: { rows: 8 } }]);

    const furthest = await latestCheckpoint(store, OTHER_KEY);
    expect(furthest?.position).toEqual([1, 2, 0]);
    expect(bytesOf('checkpoint 2').equals(await store.getBytes(furthest!.blob))).toBe(true);
    expect(await saveCheckpoint(store, OTHER_KEY, checkpoint(2))).toMatchObject({ outcome: 'equal' });
    expect(await saveCheckpoint(store, OTHER_KEY, checkpoint(3))).toMatchObject({ outcome: 'saved' });
    expect(await store.advanceRef('current', 1, { runId: 'next' })).toMatchObject({ won: true, n: 2 });
  }
  faultFigure(context, VERSIONS.length, `stores of ${VERSIONS.join(', ')}`);
});

test('A store of a version to come is refused, and the version named. (R21)', async (context) => {
  const root = join(folder, 'future');
  await fill(root);
  const file = join(root, 'store.json');
  await chmod(file, 0o600);
  await writeFile(file, encodeRecord('store.json', { format: 'softflow-store', version: 2 }));
  await expect(openStore(root)).rejects.toMatchObject({
    code: 'STORE_VERSION_UNSUPPORTED',
    message: expect.stringMatching(/expected .*"version":1.* found .*"version":2/),
  });
  faultFigure(context, 1, '');
});

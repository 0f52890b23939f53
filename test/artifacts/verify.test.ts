import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { putTile } from '../../artifacts/tiles.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { intercept } from './faulty-file-system.ts';
import { bytesOf, FINGERPRINT, KEY, manifestOf, newStore, OTHER_KEY, seededRandom } from './fixtures.ts';
import { fault, MemoryDisk } from './memory-disk.ts';
import { ROOT } from './scenario.ts';

/** Everything a store can hold, sizes and counts by seed. */
async function fill(store: Store, seed: number): Promise<void> {
  const random = seededRandom(seed);
  const outputs: Record<string, Awaited<ReturnType<Store['putBytes']>>> = {};
  for (let i = 0; i <= random(3); i++)
    outputs[`output${i}`] = await store.putBytes(bytesOf(`${seed}-${i}`, 1 + random(500)));
  await store.writeManifest(KEY, manifestOf(KEY, outputs));
  await store.putBytes(bytesOf(`${seed} unreferenced`));
  for (let i = 0; i <= random(3); i++) {
    await putTile(store, OTHER_KEY, i, { bytes: bytesOf(`tile ${i}`), meta: null, fingerprint: FINGERPRINT });
    await store.advanceRef('current', i, { release: i });
    const position = [1, i + 1, 0];
    await saveCheckpoint(store, OTHER_KEY, { position, fingerprint: FINGERPRINT, blob: bytesOf(`checkpoint ${i}`) });
  }
  await store.putRunRecord('night-1', 'config', { seed });
  await store.countDeath(OTHER_KEY, [1]);
  await store.addTelemetry(KEY, { seconds: seed });
  if (random(2) === 1) await store.forgetManifest(KEY);
}

async function filesOf(store: Store, directory = '.'): Promise<string[]> {
  const names = (await store.folder.list(directory)).map((name) => (directory === '.' ? name : `${directory}/${name}`));
  const nested = names.map(async (path) =>
    (await store.folder.stat(path))?.kind === 'directory' ? filesOf(store, path) : [path],
  );
  return (await Promise.all(nested)).flat();
}

test('Fifty healthy stores raise no alarm. (R9)', async (context) => {
  faultFigure(context, 50, '0 false alarms');
  for (let seed = 0; seed < 50; seed++) {
    const store = await openStore(ROOT, { fs: new MemoryDisk(), create: true });
    await fill(store, seed);
    const report = await verifyStore(store, { readData: true });
    expect(report.findings).toEqual([]);
    expect(report.records).toBeGreaterThan(6);
    expect(report.blobs).toBeGreaterThan(3);
  }
});

test("A hundred damages, each to one file, are all reported under that file's name. (R9)", async (context) => {
  faultFigure(context, 100, 'all damages reported');
  const disk = new MemoryDisk();
  const store = await openStore(ROOT, { fs: disk, create: true });
  await fill(store, 2);
  await store.writeManifest(KEY, manifestOf(KEY, { titles: await store.putBytes(bytesOf('titles')) }));
  const files = (await filesOf(store)).filter((path) => path !== 'store.json');
  const random = seededRandom(3);
  for (let i = 0; i < 100; i++) {
    const path = files[random(files.length)] ?? '';
    const good = Buffer.from(await disk.readFile(join(ROOT, path)));
    const bad = Buffer.from(good);
    const at = random(bad.length);
    bad[at] = (bad[at] ?? 0) ^ (1 << random(8));
    disk.overwrite(join(ROOT, path), i % 4 === 0 ? bad.subarray(0, at) : bad);
    const { findings } = await verifyStore(store, { readData: true });
    expect(findings.map((finding) => finding.path)).toContain(path);
    disk.overwrite(join(ROOT, path), good);
  }
  expect((await verifyStore(store, { readData: true })).findings).toEqual([]);
});

test('A missing output is reported with the step that made it; a forgotten step misses nothing.', async () => {
  const store = await newStore();
  const titles = await store.putBytes(bytesOf(1));
  await store.writeManifest(KEY, manifestOf(KEY, { titles }));
  await rm(join(store.root, titles.uri));
  expect((await verifyStore(store)).findings).toMatchObject([
    { kind: 'missing', path: titles.uri, producer: `encodeTitles (${KEY})`, repaired: false },
  ]);
  await store.forgetManifest(KEY);
  expect((await verifyStore(store)).findings).toEqual([]);
});

test('Without reading data a wrong size is found and a flipped bit is not.', async () => {
  const store = await newStore();
  const titles = await store.putBytes(bytesOf(1));
  await store.writeManifest(KEY, manifestOf(KEY, { titles }));
  await chmod(join(store.root, titles.uri), 0o600);
  await writeFile(join(store.root, titles.uri), bytesOf(2));
  expect((await verifyStore(store)).findings).toEqual([]);
  expect((await verifyStore(store, { readData: true })).findings).toMatchObject([
    { kind: 'damaged', path: titles.uri },
  ]);
  await writeFile(join(store.root, titles.uri), 'short');
  expect((await verifyStore(store)).findings).toMatchObject([{ kind: 'damaged', found: '5 bytes' }]);
});

test('A damaged record that a newer one has replaced counts as repaired.', async () => {
  const store = await newStore();
  await store.advanceRef('current', 0, 'a');
  const path = join(store.root, 'refs/current/1');
  await chmod(path, 0o600);
  await writeFile(path, 'x');
  expect((await verifyStore(store)).findings).toMatchObject([{ path: 'refs/current/1', repaired: false }]);
  await store.advanceRef('current', 0, 'b');
  expect((await verifyStore(store)).findings).toMatchObject([{ path: 'refs/current/1', repaired: true }]);
});

test('The parts of a subset together read everything once.', async () => {
  const store = await openStore(ROOT, { fs: new MemoryDisk(), create: true });
  for (let i = 0; i < 30; i++) await store.putBytes(bytesOf(i));
  const parts = [1, 2, 3].map((n) => verifyStore(store, { readData: true, subset: { n, of: 3 } }));
  const bytes = (await Promise.all(parts)).map(({ bytesRead }) => bytesRead);
  expect(bytes.every((read) => read > 0)).toBe(true);
  expect(bytes.reduce((sum, read) => sum + read, 0)).toBe(3000);
});

test('What cannot be read is told apart from what is damaged, and strange names are reported.', async () => {
  const disk = new MemoryDisk();
  const store = await openStore(ROOT, { fs: disk, create: true });
  const ref = await store.putBytes(bytesOf(1));
  await store.advanceRef('current', 0, 'a');
  await (await disk.createFile(`${ROOT}/blobs/notes`, 0o600)).close();
  await (await disk.createFile(`${ROOT}/README`, 0o600)).close();
  const fs = intercept(disk, ({ name, path }, run) =>
    name.startsWith('read') && name !== 'readdir' && !path.endsWith('store.json')
      ? Promise.reject(fault('EACCES', path))
      : run(),
  );
  const { findings } = await verifyStore(await openStore(ROOT, { fs }), { readData: true });
  const kinds = Object.fromEntries(findings.map(({ path, kind }) => [path, kind]));
  expect(kinds).toEqual({
    [ref.uri]: 'unreadable',
    'refs/current/1': 'unreadable',
    'blobs/notes': 'foreign',
    README: 'foreign',
  });
});

test('A thousand objects are checked within a second. (R9)', async (context) => {
  const store = await newStore();
  for (let i = 0; i < 250; i++) {
    await putTile(store, KEY, i, { bytes: bytesOf(i), meta: null, fingerprint: FINGERPRINT });
    await store.addTelemetry(KEY, i);
    await store.advanceRef('current', i, i);
  }
  const start = process.cpuUsage();
  const { records, blobs } = await verifyStore(store);
  const { user, system } = process.cpuUsage(start);
  expect(records + blobs).toBe(1000);
  // Processor time, for the wall clock also shows what else the machine does.
  expect((user + system) / 1e6).toBeLessThan(1);
  faultFigure(context, 1, `${((user + system) / 1e6).toFixed(2)} s for 1,000 objects`);
});

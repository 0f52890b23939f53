import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { openStore } from '../../artifacts/store.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { KEY, temporaryFolder } from './fixtures.ts';

beforeAll(async () => {
  const build = (await import(new URL('../../bin/build.mjs', import.meta.url).href)) as { buildIfStale(): boolean };
  build.buildIfStale();
});

function start(script: string, ...parts: (string | number)[]): ChildProcess {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return spawn(process.execPath, [path, ...parts.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
}

interface Told {
  name: string;
  manifest: string;
  pointer: { won: boolean; n: number; value: string };
  checkpoint: string;
  tile: string;
  death: number;
}

test('Sixty-four writers in eight processes race for the same names: one of each wins, and all agree on which. (R12)', async (context) => {
  const root = join(await temporaryFolder(), 'store');
  const children = Array.from({ length: 8 }, () => start('race-child.mjs', root, 8));
  await Promise.all(children.map(({ stdout }) => stdout && once(stdout, 'data')));
  for (const { stdin } of children) stdin?.write('go\n');
  const answers = await Promise.all(children.map(({ stdout }) => (stdout ? text(stdout) : '[]')));
  const told = answers.flatMap((answer) => JSON.parse(answer) as Told[]);
  const names = new Set(told.map(({ name }) => name));
  expect(names.size).toBe(64);
  faultFigure(context, 64, 'one winner for 64 writers');

  const winner = told.find(({ pointer }) => pointer.won)?.name ?? '';
  expect(names).toContain(winner);
  expect(told.filter(({ pointer }) => pointer.won)).toHaveLength(1);
  expect(new Set(told.map(({ pointer }) => pointer.value))).toEqual(new Set([winner]));
  for (const field of ['manifest', 'tile'] as const) expect(new Set(told.map((answer) => answer[field])).size).toBe(1);
  expect(told.filter(({ checkpoint }) => checkpoint === 'saved')).toHaveLength(1);
  expect(new Set(told.map(({ death }) => death)).size).toBe(64);

  const store = await openStore(root);
  expect((await store.readManifest(KEY))?.result).toBe(told[0]?.manifest);
  expect(await readdir(join(root, 'manifests', KEY))).toEqual(['1']);
  expect(await readdir(join(root, 'refs/current'))).toEqual(['1']);
  expect(await readdir(join(root, 'blobs'))).toHaveLength(1);
  expect(await readdir(join(root, 'checkpoints', KEY, 'records'))).toEqual(['1.0.0-1']);
});

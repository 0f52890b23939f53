import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import type { Store } from '../../artifacts/store.ts';
import { getTile, putTile } from '../../artifacts/tiles.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { bytesOf, FINGERPRINT, KEY, manifestOf, newStore } from './fixtures.ts';

const HOSTILE = [
  ...['', '.', '..', '../x', '../../etc/passwd', 'a/../../b', './a', 'a/b', 'a//b', '/', '/etc/passwd', '//host/share'],
  ...[
    '~',
    '~root',
    '-rf',
    '_x',
    '.hidden',
    '.tmp-0123456789abcdef',
    'a\\b',
    '..\\..\\x',
    'C:\\x',
    'c:',
    'C:x',
    '\\\\host',
  ],
  ...[
    'a\0b',
    '\0',
    'a\n',
    'a\r',
    '\t',
    ' a',
    'a ',
    'a b',
    'a\u001b[31m',
    'A',
    'Current',
    'CON',
    'NUL',
    'a:b',
    'a*',
    'a?',
  ],
  ...['"a"', "'a'", '`id`', '$(id)', '$HOME', 'a;b', 'a|b', 'a&b', '<a>', '%2e%2e', '%00', '..%2f', 'a%2fb'],
  ...[
    '\u2024\u2024/x',
    '\uff0e\uff0e',
    '\u2215',
    'a\u2044b',
    '\u202ea',
    'e\u0301',
    '\u00e9',
    '\u0430bc',
    '\u{1f600}',
    '\ufeffa',
  ],
  ...[
    'a'.repeat(65),
    'a'.repeat(300),
    `${KEY}a`,
    KEY.slice(1),
    KEY.toUpperCase(),
    `${KEY}\n`,
    `../${KEY}`,
    '__proto__',
  ],
];

/** Every way in which a name from outside becomes a part of a path. */
function entrances(store: Store, name: string): [string, () => Promise<unknown>][] {
  const ref: ArtifactRef = { uri: name, sha256: KEY, bytes: 1 };
  const tile = { bytes: bytesOf(1), meta: null, fingerprint: FINGERPRINT };
  const checkpoint = { position: [1], fingerprint: FINGERPRINT, blob: bytesOf(1) };
  return [
    ['readRef', () => store.readRef(name)],
    ['advanceRef', () => store.advanceRef(name, 0, 1)],
    ['listRef', () => store.listRef(name)],
    ['putRunRecord', () => store.putRunRecord(name, 'config', 1)],
    ['putRunRecord kind', () => store.putRunRecord('run', name, 1)],
    ['readRunRecord', () => store.readRunRecord(name, 'config')],
    ['readManifest', () => store.readManifest(name)],
    ['writeManifest', () => store.writeManifest(name, manifestOf(name, {}))],
    ['writeManifest output', () => store.writeManifest(KEY, manifestOf(KEY, { titles: ref }))],
    ['forgetManifest', () => store.forgetManifest(name)],
    ['putTile', () => putTile(store, name, 0, tile)],
    ['getTile', () => getTile(store, name, 0)],
    ['countDeath', () => store.countDeath(name, [0])],
    ['addTelemetry', () => store.addTelemetry(name, 1)],
    ['getBytes', () => store.getBytes(ref)],
    ['getBytes digest', () => store.getBytes({ uri: `blobs/${name}`, sha256: name, bytes: 1 })],
    ['getBytes key', () => store.getBytes({ uri: `checkpoints/${name}/blobs/${KEY}`, sha256: KEY, bytes: 1 })],
    ['pathOf', () => store.pathOf(ref)],
    ['has', () => store.has(ref)],
    ['saveCheckpoint', () => saveCheckpoint(store, name, checkpoint)],
    ['latestCheckpoint', () => latestCheckpoint(store, name)],
  ];
}

// A name of hex digits alone is a valid pointer name, so those are refused as keys only.
const asNameAllowed = (name: string) => /^[a-z0-9][a-z0-9._-]{0,63}$/.test(name);
const NAME_ENTRANCES = /Ref|RunRecord/;

test('There are at least sixty hostile names, and none of them is let in anywhere. (S9)', async (context) => {
  faultFigure(context, HOSTILE.length, 'hostile names at every entrance');
  const store = await newStore();
  const around = await readdir(dirname(store.root));
  expect(new Set(HOSTILE).size).toBeGreaterThanOrEqual(60);
  for (const name of HOSTILE) {
    for (const [entrance, call] of entrances(store, name)) {
      if (NAME_ENTRANCES.test(entrance) && asNameAllowed(name)) continue;
      await expect(call(), `${entrance} ${JSON.stringify(name)}`).rejects.toMatchObject({
        code: expect.stringMatching(/^(STORE_NAME_INVALID|MANIFEST_INVALID)$/),
        retryable: false,
      });
    }
  }
  expect((await readdir(store.root)).filter((name) => name !== 'blobs')).toEqual(['store.json']);
  expect(await readdir(dirname(store.root))).toEqual(around);
});

test.each([[[]], [[-1]], [[1.5]], [[Number.NaN]], [[2 ** 60]], [[1, 2, 3, 4, 5, 6, 7, 8, 9]]])(
  'Position %j is refused.',
  async (position) => {
    const store = await newStore();
    await expect(store.countDeath(KEY, position)).rejects.toMatchObject({ code: 'STORE_NAME_INVALID' });
  },
);

test('Ordinary names are let in.', async () => {
  const store = await newStore();
  for (const name of ['current', 'ml-100k_2026.11', '0', 'a'.repeat(64), 'a..b']) {
    expect(await store.advanceRef(name, 0, name)).toMatchObject({ won: true });
  }
  expect(await store.listRefs()).toHaveLength(5);
});

test('What a stranger puts into a folder of the store is not read as a record.', async () => {
  const store = await newStore();
  await store.advanceRef('current', 0, 'mine');
  const { fs } = store.folder;
  for (const name of ['01', '2x', '1e3', '-3', '99999999999999999', '.tmp-x', 'README']) {
    await (await fs.createFile(`${store.root}/refs/current/${name}`, 0o600)).close();
  }
  expect(await store.readRef('current')).toEqual({ n: 1, value: 'mine' });
});

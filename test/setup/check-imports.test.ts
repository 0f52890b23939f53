import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const FOLDERS = [
  'cli',
  'client',
  'workflows',
  'activities',
  'workers',
  'encryption',
  'report',
  'ui',
  'model',
  'datasets',
  'artifacts',
  'setup',
  'telemetry',
  'sinks',
];

describe('the import check', () => {
  let root: string;
  let checkImports: (root: string) => string[];

  beforeEach(async () => {
    const url = new URL('../../bin/check-imports.mjs', import.meta.url).href;
    ({ checkImports } = (await import(url)) as { checkImports: (root: string) => string[] });
    root = mkdtempSync(join(tmpdir(), 'softflow-imports-'));
    for (const folder of FOLDERS) mkdirSync(join(root, folder));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function faultsOf(path: string, text: string): string[] {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    return checkImports(root);
  }

  it.each([
    ['model/a.ts', "import { store } from '../artifacts/store.ts';"],
    ['model/deep/a.ts', "import { store } from '../../artifacts/store.ts';"],
    ['model/a.ts', "export * from '../datasets/windows.ts';"],
    ['model/a.ts', "const late = await import('../report/table.ts');"],
    ['model/a.ts', "import {\n  one,\n  two,\n} from '../cli/main.ts';"],
    ['model/a.ts', "import { Worker } from '@temporalio/worker';"],
    ['activities/a.ts', "import * as tf from '@tensorflow/tfjs-node-gpu';"],
    ['workflows/a.ts', "import { encode } from '../activities/encode.ts';"],
    ['workflows/a.ts', "import { type Encode } from '../activities/encode.ts';"],
    ['datasets/a.ts', "import '../setup/index.ts';"],
  ])('refuses in %s: %s', (path, text) => {
    expect(faultsOf(path, text)).toHaveLength(1);
    expect(checkImports(root)[0]).toContain(path);
  });

  it.each([
    ['model/a.ts', "import { SoftflowError } from '../errors.ts';\nimport { b } from './deep/b.ts';"],
    ['model/a.ts', "// import { store } from '../artifacts/store.ts';"],
    ['model/a.ts', "import * as tf from '@tensorflow/tfjs-node-gpu';"],
    ['workflows/a.ts', "import type { Activities } from '../activities/contracts.ts';"],
    ['cli/a.ts', "import { ensureAll } from '../setup/index.ts';"],
    ['report/a.ts', "import { schemas } from '../datasets/schemas.ts';"],
  ])('accepts in %s: %s', (path, text) => {
    expect(faultsOf(path, text)).toEqual([]);
  });
});

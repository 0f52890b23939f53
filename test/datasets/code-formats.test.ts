import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { openTabular } from '../../datasets/sources/tabular.ts';
import { temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const CSV = 'user_id,item_id,timestamp\nu,i,1\n';

async function open(name: string, content: string | Uint8Array) {
  const path = join(folder, name);
  await writeFile(path, content);
  const columns = { user: 'user_id', item: 'item_id', time: 'timestamp' };
  return openTabular({ path, delimiter: ',', quoted: true, columns });
}

describe('a data file that can run code is refused', () => {
  it.each(
    'train_data.df a.pkl a.PICKLE a.pkl.gz model.bin a.pt a.pth a.ckpt a.joblib a.npy a.npz a.ipynb loader.py a.r a.zip a.tar'.split(
      ' ',
    ),
  )('by its name, with a way out: %s (S4)', async (name) => {
    await expect(open(name, CSV)).rejects.toMatchObject({
      code: 'DATA_UNSUPPORTED',
      message: expect.stringMatching(/which can run code when it is read.*To use .*: /),
    });
  });

  it.each<[string, string | Buffer]>([
    ['pickle protocol 2', Buffer.from('80027d7100', 'hex')],
    ['pickle protocol 4', Buffer.from('80049500000000', 'hex')],
    ['pickle protocol 5', Buffer.from('80059500000000', 'hex')],
    ['pickle protocol 0', '(dp0\nS"a"\np1\n.'],
    ['pickle protocol 0 that calls', 'cos\nsystem\n(S"echo"\ntR.'],
    ['gzip around a pickle', gzipSync(Buffer.from('80049500000000', 'hex'))],
    ["PyTorch's zip", Buffer.from('504b030400000808', 'hex')],
    ['NumPy', Buffer.from('934e554d50590100', 'hex')],
    ['notebook', '{\n "cells": [{"cell_type": "code"}],\n "nbformat": 4\n}'],
    ['script', '#!/usr/bin/env python3\nimport os\n'],
    ['data set script', 'import datasets\nclass X(datasets.GeneratorBasedBuilder): pass\n'],
  ])('by its bytes, whatever its name: %s (S4)', async (_, content) => {
    await expect(open('interactions.csv', content)).rejects.toMatchObject({ code: 'DATA_UNSUPPORTED' });
  });

  it('while text with such words in it is text', async () => {
    expect((await open('a.csv', `import,cost,${CSV}`)).width).toBe(5);
  });
});

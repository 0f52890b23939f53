import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, it } from 'vitest';
import { unzip } from '../../setup/zip.ts';
import { expectSafeReader, FUZZ_TIMEOUT_MS } from '../support/fuzz.ts';
import { buildZip } from './build-zip.ts';

const root = mkdtempSync(join(tmpdir(), 'softflow-zip-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('mutations of an archive give a SoftflowError or its members (S1)', {
  timeout: FUZZ_TIMEOUT_MS,
}, async (context) => {
  const whole = buildZip([
    { name: 'lib/a', content: Buffer.from('some content, some content') },
    { name: 'b', content: Buffer.from('x') },
  ]);
  const file = join(root, 'archive.zip');
  await expectSafeReader(context, {
    whole: [{ bytes: whole, header: [-22 - 2 * 46 - 6, whole.length] }],
    read: async (bytes) => {
      writeFileSync(file, bytes);
      await unzip(file, join(root, 'unpacked'), { select: (name) => name, maxBytes: 1e6 });
    },
    classes: {
      'no end': /no end-of-central-directory/,
      'an entry': /entry \d+ of its central directory/,
      'the method': /uses compression method/,
      'the local header': /has no local header/,
      'the stream': /does not inflate/,
      'the size': /bytes, expected/,
      'larger than declared': /larger than the/,
      'too large': /unpack to/,
      outside: /outside the target folder/,
      'cut off': /it ends at byte/,
    },
  });
});

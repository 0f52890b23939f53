import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duck } from './duck.ts';

/** What a command in the foreground may take; what does not fit goes to disk. */
const LIMITS = { memoryLimit: '1GB', threads: 2 };

/** Lends a database in a temporary folder of its own, which is gone afterwards whatever happened. */
export async function withDuck<T>(work: (duck: Duck) => Promise<T>): Promise<T> {
  const tmpDir = await mkdtemp(join(tmpdir(), 'softflow-duck-'));
  try {
    const duck = await Duck.open({ tmpDir, ...LIMITS });
    try {
      return await work(duck);
    } finally {
      await duck.close();
    }
  } finally {
    await rm(tmpDir, { recursive: true, force: true });
  }
}

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger, type WorkflowBundleOption } from '@temporalio/worker';

const extension = extname(import.meta.url);
const ENTRY = fileURLToPath(new URL(`../workflows/index${extension}`, import.meta.url));
/** Beside the built workflows; the next build removes it with everything else that it did not make. */
const BUNDLE = fileURLToPath(new URL('../workflows/bundle.cjs', import.meta.url));
const STAMP = fileURLToPath(new URL('../.build-stamp', import.meta.url));

let made: Promise<WorkflowBundleOption> | undefined;

/** The workflows as one script. Bundling takes seconds, so it is done once a process, and once a build in `dist/`. */
export function workflowBundle(): Promise<WorkflowBundleOption> {
  made ??= existsSync(BUNDLE) ? Promise.resolve({ codePath: BUNDLE }) : makeBundle();
  return made;
}

async function makeBundle(): Promise<WorkflowBundleOption> {
  const before = await readStamp();
  const { code } = await bundleWorkflowCode({ workflowsPath: ENTRY, logger: new DefaultLogger('ERROR') });
  if (before !== undefined) await keep(code, before).catch(() => {});
  return { code };
}

/** For the next start. A folder that cannot be written, or that was built anew meanwhile, keeps nothing. */
async function keep(code: string, stamp: string): Promise<void> {
  const temporary = `${BUNDLE}.${randomBytes(4).toString('hex')}`;
  await writeFile(temporary, code);
  if ((await readStamp()) === stamp) await rename(temporary, BUNDLE);
  else await rm(temporary);
}

function readStamp(): Promise<string | undefined> {
  return readFile(STAMP, 'utf8').catch(() => undefined);
}

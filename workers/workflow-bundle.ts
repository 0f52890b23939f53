import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger, type WorkflowBundleOption } from '@temporalio/worker';
import { packageRoot } from '../setup/paths.ts';

const extension = extname(import.meta.url);
/** The module of softflow's workflows, for `workflowsPath` of a Temporal worker that bundles them itself. */
export const workflowsPath: string = fileURLToPath(new URL(`../workflows/index${extension}`, import.meta.url));
const TRACE_HEADERS = fileURLToPath(new URL(`../workflows/trace-headers${extension}`, import.meta.url));
const STAMP = fileURLToPath(new URL('../.build-stamp', import.meta.url));

const made = new Map<string, Promise<WorkflowBundleOption>>();

/**
 * The workflows as one script, for `workflowBundle` of a Temporal worker. Bundling takes seconds, so it is done once a process,
 * and once a build in `dist/`.
 *
 * @param converter how the worker writes payloads; a failure converter runs in the workflows and is a part of the script
 */
export function workflowBundle(converter: { failureConverterPath?: string } = {}): Promise<WorkflowBundleOption> {
  const { failureConverterPath } = converter;
  const path = keptPath(failureConverterPath);
  const found = made.get(path);
  if (found) return found;
  const bundle = existsSync(path) ? Promise.resolve({ codePath: path }) : makeBundle(path, failureConverterPath);
  made.set(path, bundle);
  return bundle;
}

/** Beside the built workflows; the next build removes it with everything else that it did not make. */
function keptPath(failureConverterPath?: string): string {
  const name = failureConverterPath === undefined ? 'bundle' : 'bundle-encrypted';
  return fileURLToPath(new URL(`../workflows/${name}.cjs`, import.meta.url));
}

async function makeBundle(path: string, failureConverterPath?: string): Promise<WorkflowBundleOption> {
  const before = await readStamp();
  const bundled = await bundleWorkflowCode({
    workflowsPath,
    workflowInterceptorModules: [TRACE_HEADERS],
    logger: new DefaultLogger('ERROR'),
    ...(failureConverterPath === undefined ? {} : { failureConverterPath }),
  });
  const code = withoutMachinePaths(bundled.code);
  if (before !== undefined) await keep(path, code, before).catch(() => {});
  return { code };
}

/** The source map names files by their place on this machine, which is nobody's business once the bundle is shipped. */
function withoutMachinePaths(code: string): string {
  return code.replace(/(?<=sourceMappingURL=data:[^,]*;base64,)[A-Za-z0-9+/=]+/, (map) =>
    Buffer.from(Buffer.from(map, 'base64').toString().replaceAll(packageRoot(), '.')).toString('base64'),
  );
}

/** For the next start. A folder that cannot be written, or that was built anew meanwhile, keeps nothing. */
async function keep(path: string, code: string, stamp: string): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  await writeFile(temporary, code);
  if ((await readStamp()) === stamp) await rename(temporary, path);
  else await rm(temporary);
}

function readStamp(): Promise<string | undefined> {
  return readFile(STAMP, 'utf8').catch(() => undefined);
}

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import util from 'node:util';
import { SoftflowError } from '../errors.ts';

/** TensorFlow.js over the native library. */
export type TfjsNode = typeof import('@tensorflow/tfjs-node-gpu');

const require = createRequire(import.meta.url);

/**
 * Loads `@tensorflow/tfjs-node-gpu` with the given native addon; the package as installed has none. A second call returns
 * the same module, whatever the path. Threads and other `TF_*` variables must be in the environment before the first call.
 *
 * @throws SoftflowError `TENSORFLOW_NOT_LOADED` when the addon is missing or the system cannot load it
 */
export function loadTfjsNode(addonPath: string): TfjsNode {
  if (!existsSync(addonPath)) throw notLoaded(addonPath, 'the file does not exist');
  quietTensorflow();
  restoreRemovedUtil();
  try {
    const preload = join(dirname(addonPath), 'preload.node');
    if (existsSync(preload)) require(preload);
    return withAddonAt(addonPath, () => require('@tensorflow/tfjs-node-gpu') as TfjsNode);
  } catch (error) {
    throw notLoaded(addonPath, (error as Error).message, error);
  }
}

/** Leaves TensorFlow's errors on stderr and drops its notices and tfjs's greeting. What the user has set is kept. */
function quietTensorflow(): void {
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
  process.env['TF_CPP_MAX_VLOG_LEVEL'] ??= '0';
}

/** tfjs-node 4.22 calls two functions that Node 23 removed from `node:util`. */
function restoreRemovedUtil(): void {
  const target = util as unknown as Record<string, unknown>;
  target['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined;
  target['isArray'] ??= Array.isArray;
}

/**
 * The package asks `@mapbox/node-pre-gyp` where its addon lies and expects it in node_modules, which may be read-only and
 * is emptied by every install. While `load` runs, a module that knows our path stands in its place.
 */
function withAddonAt<T>(addonPath: string, load: () => T): T {
  const fromTfjs = createRequire(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const locator = fromTfjs.resolve('@mapbox/node-pre-gyp');
  const before = require.cache[locator];
  require.cache[locator] = { exports: { find: () => addonPath }, loaded: true, id: locator } as unknown as NodeModule;
  try {
    return load();
  } finally {
    if (before) require.cache[locator] = before;
    else delete require.cache[locator];
  }
}

function notLoaded(addonPath: string, why: string, cause?: unknown): SoftflowError {
  return new SoftflowError(
    'TENSORFLOW_NOT_LOADED',
    `Cannot load the TensorFlow addon ${addonPath}: ${why}. Run "softflow doctor" to see what is missing.`,
    { details: { addonPath }, cause },
  );
}

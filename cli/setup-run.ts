import { SoftflowError } from '../errors.ts';
import type { SetupNeeds } from '../setup/index.ts';
import type { BackendChoice } from '../workers/backend-choices.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { openSetupView } from './setup-view.ts';
import type { Terminal } from './terminal.ts';

/** What set-up must provide before this run can start. */
export function setupNeeds(config: RunConfig): SetupNeeds {
  const { source: model } = config.model;
  const { source: data } = config.data;
  return {
    tensorflow: true,
    ...('registry' in model ? { model: { registry: model.registry } } : {}),
    ...('hub' in model ? { model: { id: model.hub, revision: model.revision } } : {}),
    ...('registry' in data ? { data: 'ml-100k' as const } : {}),
  };
}

/**
 * Fetches what is not in the cache yet, with progress and licence notices.
 * @returns whether the TensorFlow library can be had; without it, softflow computes on a slower backend
 * @throws SoftflowError of what cannot be replaced: model, data, Temporal server
 */
export async function runSetup(needs: SetupNeeds, terminal: Terminal): Promise<{ tensorflow: boolean }> {
  const { ensureAll } = await import('../setup/index.ts');
  const view = openSetupView(terminal);
  const { tensorflow, ...others } = needs;
  try {
    const library = tensorflow ? await withFallback(() => ensureAll({ tensorflow }, view.onProgress), terminal) : true;
    await ensureAll(others, view.onProgress);
    return { tensorflow: library };
  } finally {
    view.end();
  }
}

/** What a job outside of a run needs of the set-up; returns what shall compute. */
export async function prepareTools(
  config: unknown,
  backend: BackendChoice,
  terminal: Terminal,
): Promise<BackendChoice> {
  const { data: _, ...needs } = setupNeeds(config as RunConfig);
  const { tensorflow } = await runSetup(
    { ...needs, tensorflow: backend === 'auto' || backend === 'tensorflow' },
    terminal,
  );
  return tensorflow || backend === 'tensorflow' ? backend : 'wasm';
}

const REPLACEABLE = new Set([
  'SETUP_UNSUPPORTED_PLATFORM',
  'SETUP_NO_COMPILER',
  'SETUP_COMPILE_FAILED',
  'SETUP_NO_PYTHON',
  'SETUP_NO_PIP',
]);

async function withFallback(ensure: () => Promise<unknown>, terminal: Terminal): Promise<boolean> {
  try {
    await ensure();
    return true;
  } catch (error) {
    if (!(error instanceof SoftflowError) || !REPLACEABLE.has(error.code)) throw error;
    terminal.err(`${terminal.paint.yellow('warning')} ${error.code}: ${error.message}`);
    terminal.err('Going on with a far slower backend (WebAssembly): fit for small models only.');
    return false;
  }
}

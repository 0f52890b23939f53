import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toFault } from '../activities/faults.ts';
import { measureFigures } from '../activities/measure-figures.ts';
import { openStore } from '../artifacts/store.ts';
import type { Calibration } from '../model/cost.ts';
import { knownDeviceError } from '../model/device-memory.ts';
import { cacheRoot } from '../setup/cache.ts';
import { openChosenBackend } from './backend.ts';
import type { EstimatorAnswer, EstimatorRequest } from './estimator.ts';
import { machinePlaces } from './places.ts';

/** Measures what a run will cost, in a process of its own, because it loads the tensor library; its request is the one argument. */
async function answer({ storeRoot, backend, figures }: EstimatorRequest): Promise<EstimatorAnswer> {
  const warnings: string[] = [];
  const before = process.memoryUsage().rss;
  const { name, fingerprint } = await openChosenBackend(backend, (warning) => warnings.push(warning));
  const backendBytes = BARE_PROCESS_BYTES + process.memoryUsage().rss - before;
  const store = storeRoot === undefined ? {} : { store: await openStore(storeRoot, { readOnly: true }) };
  const context = { ...store, places: machinePlaces, fingerprint, backendBytes, remember };
  return { figures: await measureFigures(figures, context), backend: name, warnings };
}

/** A Node.js process with softflow's code loaded. */
const BARE_PROCESS_BYTES = 150e6;

/** In the user's cache, by what it depends on. What a busy machine has measured is not kept. */
async function remember(key: string, measure: () => Promise<Calibration>): Promise<Calibration> {
  const file = join(cacheRoot(), 'calibration', `${key}.json`);
  const known = await readFile(file, 'utf8')
    .then(JSON.parse)
    .catch(() => undefined);
  if (known !== undefined) return known as Calibration;
  const measured = await measure();
  if (measured.busy) return measured;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(`${file}.${process.pid}`, JSON.stringify(measured), { mode: 0o600 });
  await rename(`${file}.${process.pid}`, file);
  return measured;
}

const reply = await answer(JSON.parse(process.argv[2] ?? '{}') as EstimatorRequest).catch((error: unknown) => ({
  fault: toFault(knownDeviceError(error)),
}));
process.send?.(reply, () => process.exit(0));

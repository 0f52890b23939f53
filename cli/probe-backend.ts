import { findDawn } from '../setup/dawn.ts';
import { findTensorflow } from '../setup/tensorflow.ts';
import type { BackendProbe } from './doctor.ts';

/**
 * Tries the backend named on the command line and prints one line of JSON. Runs as a process of its own, so the tensor
 * library is loaded here and never in the command.
 */
type Probe = (name: string, options: object) => Promise<BackendProbe>;

async function probe(name: string): Promise<BackendProbe> {
  try {
    const { probeBackend } = (await import(new URL('../model/doctor-probe.js', import.meta.url).href)) as {
      probeBackend: Probe;
    };
    const addonPath = name === 'tensorflow' ? (await findTensorflow())?.addonPath : undefined;
    const dawn = name === 'webgpu' ? await findDawn() : undefined;
    return await probeBackend(name, { ...(addonPath && { addonPath }), ...(dawn && { dawn }) });
  } catch (error) {
    const absent = (error as { code?: string }).code === 'WEBGPU_NO_DEVICE';
    return { ok: false, absent, detail: error instanceof Error ? error.message : String(error) };
  }
}

process.stdout.write(`${JSON.stringify(await probe(process.argv[2] ?? ''))}\n`);
process.exit(0);

import { findTensorflow } from '../setup/tensorflow.ts';
import type { BackendProbe } from './doctor.ts';

/**
 * Tries the backend named on the command line and prints one line of JSON. Runs as a process of its own, so the tensor
 * library is loaded here and never in the command.
 */
type Probe = (name: string, options: { addonPath?: string }) => Promise<BackendProbe>;

async function probe(name: string): Promise<BackendProbe> {
  try {
    const { probeBackend } = (await import(new URL('../model/doctor-probe.js', import.meta.url).href)) as {
      probeBackend: Probe;
    };
    const addonPath = name === 'tensorflow' ? (await findTensorflow())?.addonPath : undefined;
    return await probeBackend(name, addonPath === undefined ? {} : { addonPath });
  } catch (error) {
    return { ok: false, detail: error instanceof Error ? error.message : String(error) };
  }
}

process.stdout.write(`${JSON.stringify(await probe(process.argv[2] ?? ''))}\n`);
process.exit(0);

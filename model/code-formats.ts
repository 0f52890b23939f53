import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { fileSource } from './ranged-file.ts';

const SCRIPT = /\.(?:py|ipynb)$/i;

/** Formats that can run code when they are read, by the ends of their names. */
const CODE_NAMES: readonly [pattern: RegExp, kind: string][] = [
  [/\.(?:bin|pt|pth|ckpt|pkl|pickle|joblib|dill|df|npy|npz)$/i, 'a pickle file'],
  [/\.(?:h5|hdf5|keras)$/i, 'a Keras file'],
  [SCRIPT, 'Python code'],
];

/** @throws SoftflowError `MODEL_UNSUPPORTED` for a file whose name says that it can run code */
export function refuseCodeName(path: string): void {
  const kind = CODE_NAMES.find(([pattern]) => pattern.test(path))?.[1];
  if (kind !== undefined) throw refused(path, kind);
}

/**
 * Refuses a pickle whatever its name: pickles begin with protocol 2 to 5, and `torch.save` puts them into a zip.
 *
 * @throws SoftflowError `MODEL_UNSUPPORTED`, `MODEL_FILE_MISSING`
 */
export async function refuseCodeBytes(path: string): Promise<void> {
  const source = await fileSource(path);
  if (source.size < 4) return;
  const [a = 0, b = 0, c, d] = await source.read(0, 4);
  const zip = a === 0x50 && b === 0x4b && c === 3 && d === 4;
  // The same bytes may begin a safetensors header of 640 to 1,408 bytes, whose length ends in zeros.
  const bare = a === 0x80 && b >= 2 && b <= 5 && source.size > 8 && (await source.read(7, 1))[0] !== 0;
  if (zip || bare) throw refused(path, 'a pickle file');
}

/** Refuses a folder by the first weights in it that can run code; scripts beside weights are common and never read. */
export async function refuseCodeFolder(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => !SCRIPT.test(name)).sort();
  for (const name of names) refuseCodeName(join(folder, name));
}

function refused(path: string, kind: string): SoftflowError {
  return new SoftflowError(
    'MODEL_UNSUPPORTED',
    `${path} is ${kind}, which can run code when it is read. Expected: safetensors or GGUF. Convert it with safetensors' own converter on a machine that may run what ${basename(path)} holds, or choose a revision of the model that has safetensors.`,
    { details: { path, kind } },
  );
}

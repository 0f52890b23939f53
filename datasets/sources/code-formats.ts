import { basename } from 'node:path';
import { SoftflowError } from '../../errors.ts';

interface CodeFormat {
  kind: string;
  hint: string;
  name: RegExp;
  /** The first bytes in hexadecimal. */
  magic?: RegExp;
  /** The first 4 KiB, a character for each byte. */
  text?: RegExp;
}

/** Formats that can run code when they are read: by the end of a name, and by how their bytes begin. */
const FORMATS: readonly CodeFormat[] = [
  {
    kind: 'a pickle',
    hint: 'on a machine that may run what it holds, write it as CSV, with pandas: pandas.read_pickle("in").to_csv("out.csv")',
    name: /\.(?:pkl|pickle|df|bin|pt|pth|ckpt|joblib|dill|npy|npz)(?:\.gz)?$/i,
    // Protocols 2 to 5, and NumPy's files, which may hold pickles; protocol 0 is text.
    magic: /^(?:800[2-5]|934e554d5059)/,
    text: /^(?:\((?:dp|lp|i)\d|c[\w.]+\n\w+\n[(p])/,
  },
  {
    kind: "a zip archive, as PyTorch's files are",
    hint: 'unpack it and name the table inside; of a PyTorch file, write the table as CSV where it may be loaded',
    name: /\.(?:zip|tar|tgz)$/i,
    magic: /^504b0304/,
  },
  {
    kind: 'a notebook',
    hint: 'export its table as CSV',
    name: /\.ipynb$/i,
    text: /^\s*\{[\s\S]*"(?:nbformat|cell_type)"\s*:/,
  },
  {
    kind: 'a script',
    hint: 'run it yourself, where it may run, and name the file that it writes',
    name: /\.(?:py|r|jl|sh)$/i,
    text: /^(?:#!|import [\w.]+(?: as \w+)?\r?\n|from [\w.]+ import )/,
  },
];

/** @throws SoftflowError `DATA_UNSUPPORTED` for a file whose name says that it can run code */
export function refuseCodeName(path: string): void {
  const format = FORMATS.find(({ name }) => name.test(path));
  if (format) throw refused(path, format);
}

/** @param head the file's first bytes, unpacked @throws SoftflowError `DATA_UNSUPPORTED` */
export function refuseCodeBytes(path: string, head: Buffer): void {
  const magic = head.toString('hex', 0, 8);
  const text = head.toString('latin1', 0, 4096);
  const format = FORMATS.find((known) => known.magic?.test(magic) || known.text?.test(text));
  if (format) throw refused(path, format);
}

function refused(path: string, { kind, hint }: CodeFormat): SoftflowError {
  return new SoftflowError(
    'DATA_UNSUPPORTED',
    `${path} is ${kind}, which can run code when it is read, so it is never opened as one. Expected text with rows and columns, or Parquet. To use ${basename(path)}: ${hint}.`,
    { details: { path, kind } },
  );
}

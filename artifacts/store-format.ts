import { dirname } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { canonicalJson } from './canonical-json.ts';
import { errorCode, type FileSystem } from './file-system.ts';
import { decodeRecord, encodeRecord } from './record-series.ts';
import { guarded, guardedUnless } from './store-errors.ts';
import { StoreFolder, TEMPORARY_PREFIX, temporaryName } from './store-folder.ts';

const STORE_FILE = 'store.json';
const FORMAT = { format: 'softflow-store', version: 1 };

/** Everything that may stand in a store's root. */
export const STORE_ENTRIES = [
  STORE_FILE,
  'blobs',
  'checkpoints',
  'conflicts',
  'deaths',
  'manifests',
  'quarantine',
  'refs',
  'runs',
  'telemetry',
  'tiles',
  'trash',
];

/** Opens a store's folder and checks that it is one; makes it with `create`. Errors as `openStore`. */
export async function openFolder(
  path: string,
  fs: FileSystem,
  create: boolean,
  readOnly: boolean,
): Promise<StoreFolder> {
  if (create) await makeParents(fs, path);
  const real = await guardedUnless(['ENOENT', 'ENOTDIR'], 'open', path, () => fs.realpath(path));
  if (real === undefined) throw notAStore(path, 'nothing');
  const folder = new StoreFolder(real, fs);
  const found = await folder.read(STORE_FILE);
  if (found === undefined) await requireVacant(folder, create);
  if (!readOnly) await probeHardLinks(folder);
  if (found === undefined) await folder.create(STORE_FILE, encodeRecord(STORE_FILE, FORMAT));
  requireFormat(folder.path(STORE_FILE), found ?? (await folder.read(STORE_FILE)));
  return folder;
}

async function makeParents(fs: FileSystem, path: string): Promise<void> {
  const made = await guardedUnless(['ENOENT', 'EEXIST'], 'create folder', path, async () => {
    await fs.mkdir(path, 0o700);
    return true;
  });
  if (made) return guarded('sync', dirname(path), () => fs.syncDirectory(dirname(path)));
  const exists = await guardedUnless(['ENOENT'], 'look at', path, () => fs.stat(path));
  if (exists || dirname(path) === path) return;
  await makeParents(fs, dirname(path));
  await makeParents(fs, path);
}

/** A folder may become a store if it holds nothing but what an interrupted first start has left. */
async function requireVacant(folder: StoreFolder, create: boolean): Promise<void> {
  const foreign = (await folder.list('.')).find((name) => !STORE_ENTRIES.includes(name));
  if (!create || foreign !== undefined) throw notAStore(folder.root, foreign ?? 'no store.json');
}

function requireFormat(path: string, bytes: Uint8Array | undefined): void {
  const found = bytes && decodeRecord(STORE_FILE, bytes)?.value;
  if (found === undefined) {
    const message = `${path} is damaged: expected a record of a softflow store. Restore it from any other store of this version.`;
    throw new SoftflowError('STORE_DAMAGED', message, { details: { path } });
  }
  if (canonicalJson(found) === canonicalJson(FORMAT)) return;
  const message = `${path}: expected ${canonicalJson(FORMAT)}, found ${canonicalJson(found)}. Use the softflow version that wrote it.`;
  throw new SoftflowError('STORE_VERSION_UNSUPPORTED', message, { details: { path, expected: FORMAT, found } });
}

/** Create-only names rest on `link()` failing when the name is taken, so a file system must show that it does. */
async function probeHardLinks({ root, fs }: StoreFolder): Promise<void> {
  const [source, target] = [`${root}/${temporaryName()}`, `${root}/${temporaryName()}`];
  const probe = await guarded('create', source, () => fs.createFile(source, 0o400), 0);
  try {
    await guarded('close', source, () => probe.close());
    const refused = (await tryLink(fs, source, target)) || (await tryLink(fs, source, target));
    if (refused !== 'EEXIST') throw noHardLinks(root, refused || 'a second link under one name');
  } finally {
    for (const path of [source, target]) await fs.unlink(path).catch(() => undefined);
  }
}

/** '' if the link was made, else the error's code. */
async function tryLink(fs: FileSystem, source: string, target: string): Promise<string> {
  try {
    await fs.link(source, target);
    return '';
  } catch (error) {
    const code = errorCode(error);
    if (['EEXIST', 'EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK', 'EXDEV'].includes(code)) return code;
    return guarded('link', target, () => Promise.reject(error));
  }
}

function noHardLinks(root: string, found: string): SoftflowError {
  const message = `The file system of ${root} has no hard links (${found}), which the store needs so that nothing is ever overwritten. Put the store on a local disk (ext4, xfs, btrfs, APFS, NTFS).`;
  return new SoftflowError('STORE_NO_HARD_LINKS', message, { details: { root, found } });
}

function notAStore(path: string, found: string): SoftflowError {
  const message = `${path} is not a softflow store: expected a folder with ${STORE_FILE}, found ${found} (unfinished files begin with ${TEMPORARY_PREFIX}). Name another folder, or start a run to make one.`;
  return new SoftflowError('NOT_A_STORE', message, { details: { path, found } });
}

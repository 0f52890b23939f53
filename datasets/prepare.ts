import { SoftflowError } from '../errors.ts';
import { Duck, type DuckOptions } from './duck.ts';
import { countTies, type DatasetCard, titleCollisions } from './prepare/card.ts';
import { cutGivenWindows } from './prepare/given-split.ts';
import { cleanInteractions, readInteractions } from './prepare/interactions.ts';
import { addLater, keepCore, setLaterAside } from './prepare/k-core.ts';
import { type PrepareParams, periodOf } from './prepare/params.ts';
import { keepTitled, readItems } from './prepare/read-titles.ts';
import { digestOfWindows, SAMPLING_RULE, sampleWindows } from './prepare/samples.ts';
import { cutWindows } from './prepare/windows.ts';
import { readCatalogue, writeInteractions } from './prepare/write-tables.ts';
import { digestOfSource, kindOf, type ResolvedDataSource, sourceFiles } from './sources/source.ts';
import { type OpenedFile, openTabular } from './sources/tabular.ts';
import { encodeItems, encodeTitles, encodeWindows } from './tables.ts';

export type { DatasetCard } from './prepare/card.ts';
export type { PrepareParams } from './prepare/params.ts';

/** What changes how preparation runs but never what it makes. */
export interface PrepareOptions extends DuckOptions {
  onProgress?: (progress: PrepareProgress) => void;
  signal?: AbortSignal;
}

export interface PrepareProgress {
  phase: (typeof PHASES)[number];
  /** Phases finished, of `total`. */
  done: number;
  total: number;
}

export interface PreparedData {
  /** Path of the interactions table inside `tmpDir`; the caller moves or removes it. */
  interactions: string;
  /** Arrow IPC files, as the schemas of the same name. */
  items: Uint8Array;
  titles: Uint8Array;
  windowsTrain: Uint8Array;
  windowsValid: Uint8Array;
  windowsTest: Uint8Array;
  card: DatasetCard;
  result: {
    counts: Record<string, number>;
    titles: number;
    windows: { train: number; valid: number; test: number };
    windowsDigest?: string;
  };
}

const PHASES = ['read interactions', 'clean', 'read titles', 'k-core', 'windows', 'sample', 'write'] as const;

/**
 * Reads, cleans, filters, cuts and samples the data, in the order of the method. The same source and parameters give
 * the same bytes whatever the threads and the memory: every result that feeds ids, windows or samples is fully ordered.
 * With `asOf` the source has to be a snapshot, whose rows lie before it; here `asOf` and `knownAt` only go into the card.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_EMPTY`, `DATA_COLUMN_MISSING`, `DATA_UNREADABLE`, `DATA_BAD_ROWS`,
 *   `DATA_NO_TITLES`, `DATA_NO_WINDOWS`, `INPUT_INVALID`, `CANCELLED`, `OUT_OF_MEMORY` or `NO_SPACE`
 */
export async function prepareData(
  source: ResolvedDataSource,
  params: PrepareParams,
  options: PrepareOptions,
): Promise<PreparedData> {
  const files = await openFiles(source, params, options.tmpDir);
  const digest = await digestOfSource(source);
  const duck = await Duck.open(options);
  const interrupt = () => duck.interrupt();
  options.signal?.addEventListener('abort', interrupt);
  try {
    const { tables, card, titles, windows } = await prepareTables(duck, files, params, options);
    const { counts, windowsDigest } = card;
    return {
      ...tables,
      card: { source: { kind: kindOf(source), digest }, params, ...card },
      result: { counts, titles, windows, ...(windowsDigest === undefined ? {} : { windowsDigest }) },
    };
  } finally {
    options.signal?.removeEventListener('abort', interrupt);
    await duck.close();
  }
}

interface Files {
  interactions: OpenedFile[];
  items: OpenedFile;
}

async function openFiles(source: ResolvedDataSource, params: PrepareParams, tmpDir: string): Promise<Files> {
  if (params.asOf !== undefined && !('snapshot' in source))
    throw new SoftflowError(
      'INPUT_INVALID',
      `Expected a snapshot of the source for \`data.asOf\` (${params.asOf}), got the source itself. Workflow and worker are ` +
        'probably of different versions; update both.',
    );
  const files = await sourceFiles(source, tmpDir);
  const interactions: OpenedFile[] = [];
  for (const file of files.interactions) interactions.push(await openTabular(file));
  const items = await openTabular(files.items);
  if (params.ratingMin !== null && interactions.some(({ places }) => places['rating'] === null))
    throw new SoftflowError(
      'DATA_COLUMN_MISSING',
      'Expected a rating column for `data.ratingMin`, found none; name it under `data.source` or set ratingMin to null',
    );
  return { interactions, items };
}

async function prepareTables(duck: Duck, files: Files, params: PrepareParams, options: PrepareOptions) {
  const phase = phases(options);
  const period = periodOf(params);
  const read = await phase(() => readInteractions(duck, files.interactions, params));
  if (period && read.splitGiven)
    throw new SoftflowError(
      'INPUT_INVALID',
      'Expected no `data.trainUntil` where the source has a split of its own; leave one of them out.',
    );
  const cleaned = await phase(() => cleanInteractions(duck, params.ratingMin, read));
  const titled = await phase(async () => {
    const items = await readItems(duck, files.items, params.maxBadRows);
    const { counts, years } = await keepTitled(duck, files.items, params.title);
    return { counts: { ...items, ...counts }, years };
  });
  const core = await phase(async () => {
    if (!period) return keepCore(duck, params.kCore);
    await setLaterAside(duck, period.trainUntilMs);
    return { ...(await keepCore(duck, params.kCore)), ...(await addLater(duck, period.testAfterMs)) };
  });
  const { where, history, ...cut } = await phase(() =>
    read.splitGiven ? cutGivenWindows(duck, params) : cutWindows(duck, params),
  );
  const samples = await phase(() => sampleWindows(duck, params, where, history));
  const { catalogue, interactions } = await phase(async () => ({
    catalogue: await readCatalogue(duck, where.train),
    interactions: await writeInteractions(duck, options.tmpDir),
  }));
  const card: Omit<DatasetCard, 'source' | 'params'> = {
    counts: { ...read.counts, ...cleaned, ...titled.counts, ...core, ...cut.counts },
    timeUnit: read.factor === 1 ? 'ms' : 's',
    times: cut.times,
    ties: await countTies(duck),
    titleCollisions: await titleCollisions(duck),
    years: titled.years,
    sampling: SAMPLING_RULE,
    ...(period || params.asOf !== undefined ? { windowsDigest: digestOfWindows(samples, catalogue.items) } : {}),
  };
  return {
    card,
    titles: catalogue.titles.length,
    windows: { train: samples.train.length, valid: samples.valid.length, test: samples.test.length },
    tables: {
      interactions,
      items: encodeItems(catalogue.items),
      titles: encodeTitles(catalogue.titles),
      windowsTrain: encodeWindows(samples.train),
      windowsValid: encodeWindows(samples.valid),
      windowsTest: encodeWindows(samples.test),
    },
  };
}

/** Runs the parts one after another, says which one begins, and stops between two when told to. */
function phases({ signal, onProgress }: PrepareOptions): <T>(work: () => Promise<T>) => Promise<T> {
  let done = 0;
  return (work) => {
    if (signal?.aborted) throw new SoftflowError('CANCELLED', 'Data preparation was stopped');
    onProgress?.({ phase: PHASES[done] as PrepareProgress['phase'], done: done++, total: PHASES.length });
    return work();
  };
}

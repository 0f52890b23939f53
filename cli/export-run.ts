import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Progress } from '../activities/contracts.ts';
import type { MergeAdapterResult, MergeVerification } from '../activities/tool-contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { Store } from '../artifacts/store.ts';
import { type ReleasedRun, readReleasedRun, readRunFile } from '../client/run-results.ts';
import { mergeInput } from '../client/tool-inputs.ts';
import { SoftflowError } from '../errors.ts';
import type { RunSummary } from '../report/summary-types.ts';
import type { BackendChoice } from '../workers/backend-choices.ts';
import { readCatalogue, recommendToWindows } from './recommend.ts';
import { requireFree, writeWholeFolder } from './whole-folder.ts';

export const EXPORT_FORMATS = ['peft', 'merged', 'topk', 'embeddings'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportOptions {
  store: Store;
  runId: string;
  format: ExportFormat;
  /** A folder that does not exist yet, or is empty. */
  folder: string;
  /** Reads back what was written; a merged model is compared with base + adapter on real prompts. */
  verify?: boolean;
  /** Of `topk`: items a user. Default 20. */
  k?: number;
  backend?: BackendChoice;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface ExportResult {
  runId: string;
  format: ExportFormat;
  folder: string;
  /** Names of the files written, sorted. */
  files: string[];
  verified?: ExportVerification;
}

/** What `verify` found; a fault is an error instead. */
export interface ExportVerification {
  /** Files whose bytes were read back and are those of the store. */
  files: number;
  logits?: MergeVerification;
}

/** Prompts on which a merged model is compared. */
const VERIFY_PROMPTS = 16;
/** In every export: where it comes from and how good it is. */
const ALWAYS = ['metrics.json', 'lineage.json'];

/**
 * Writes what a run made into a folder, which appears whole or not at all.
 *
 * - `peft`: the adapter as PEFT loads it
 * - `merged`: base model + adapter in the Hugging Face layout, float32 safetensors
 * - `topk`: the top items for every user of the run's data, by their last items
 * - `embeddings`: the title embeddings that answers are grounded in, with the items of each title
 *
 * @throws SoftflowError `USAGE`, `RUN_UNFINISHED`, `EXPORT_DIFFERS`, `OUTPUT_NOT_WRITTEN`, `INTERRUPTED`, and those of the work
 */
export async function exportRun(options: ExportOptions): Promise<ExportResult> {
  const { store, runId, format, verify = false } = options;
  const folder = resolve(options.folder);
  // Before the run is read, so that a name that is taken is told at once.
  await requireFree(folder);
  const run = await readReleasedRun(store, runId);
  const { files, filled } = await writeWholeFolder(folder, async (temporary) => {
    const write = new ExportFolder(store, temporary, verify);
    for (const name of ALWAYS) await write.copy(name, run.files[name] as ArtifactRef);
    const { logits } = await WRITERS[format](run, write, options);
    if (format !== 'peft') await write.text('README.md', await card(store, runId, format));
    return verify ? { verified: { files: write.checked, ...(logits && { logits }) } } : {};
  });
  return { runId, format, folder, files, ...filled };
}

type Writer = (
  run: ReleasedRun,
  write: ExportFolder,
  options: ExportOptions,
) => Promise<{ logits?: MergeVerification | undefined }>;

const WRITERS: Record<ExportFormat, Writer> = {
  async peft({ files }, write) {
    for (const [path, ref] of Object.entries(files))
      if (path.startsWith('adapter/')) await write.copy(basename(path), ref);
    return {};
  },
  async merged(run, { folder }, options) {
    const { runTool } = await import('../workers/run-tool.ts');
    const input = await mergeInput(run, { folder, verifyPrompts: options.verify ? VERIFY_PROMPTS : 0 });
    const { result } = await runTool<MergeAdapterResult>('mergeAdapter', input, options);
    return { logits: result.verified };
  },
  async topk(run, { folder }, options) {
    const [{ decodeTable }, { historiesOf }] = await Promise.all([
      import('../datasets/tables.ts'),
      import('../datasets/histories.ts'),
    ]);
    const bytes = await options.store.getBytes(await run.output('prepare', 'interactions'));
    const { columns } = decodeTable(bytes, 'interactions');
    const table = { userId: columns['userId'] as string[], item: columns['item'] as Int32Array };
    const people = historiesOf(table, run.config.data.historyLength);
    const catalogue = await readCatalogue(options.store, run);
    await recommendToWindows(run, catalogue, people, { ...options, output: join(folder, 'recommendations.parquet') });
    return {};
  },
  async embeddings(run, write, { store }) {
    await write.copy('embeddings.arrow', await run.output('encode', 'embeddings'));
    const { items } = await readCatalogue(store, run);
    const { writeResultFile } = await import('../datasets/result-file.ts');
    await writeResultFile(
      join(write.folder, 'items.parquet'),
      [
        { name: 'item_id', type: 'text' },
        { name: 'title', type: 'text' },
        { name: 'title_row', type: 'integer' },
      ],
      items.map(({ itemId, title, titleRow }) => [itemId, title, titleRow]),
    );
    return {};
  },
};

/** Files on their way into the folder. */
class ExportFolder {
  readonly folder: string;
  readonly #store: Store;
  readonly #verify: boolean;
  /** Files that were read back. */
  checked = 0;

  constructor(store: Store, folder: string, verify: boolean) {
    this.#store = store;
    this.folder = folder;
    this.#verify = verify;
  }

  async copy(name: string, ref: ArtifactRef): Promise<void> {
    const path = join(this.folder, name);
    await writeFile(path, await this.#store.getBytes(ref));
    if (!this.#verify) return;
    const found = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    if (found !== ref.sha256)
      throw new SoftflowError(
        'EXPORT_DIFFERS',
        `${name} was read back with other bytes than were written. Expected ${ref.sha256}, received ${found}. Check the disk; nothing was exported.`,
        { details: { name, expected: ref.sha256, received: found } },
      );
    this.checked++;
  }

  text(name: string, content: string): Promise<void> {
    return writeFile(join(this.folder, name), content);
  }
}

async function card(store: Store, runId: string, format: Exclude<ExportFormat, 'peft'>): Promise<string> {
  const { renderModelCard } = await import('../report/model-card.ts');
  const summary = JSON.parse(Buffer.from(await readRunFile(store, runId, 'summary.json')).toString()) as RunSummary;
  return renderModelCard(summary, format);
}

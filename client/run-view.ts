import { randomBytes } from 'node:crypto';
import { mkdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readDecision } from '../artifacts/decisions.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import type { RunStatus } from '../workflows/run-state.ts';

/** The steps whose outputs are named by their path in a run's folder. */
const STEPS_WITH_FILES = new Set(['release', 'renderReport']);

/**
 * Writes the folder `<runs>/<run id>/` from the store: `metrics.json`, `telemetry.json`, `run.json`, `report.html`,
 * `adapter/` as far as the run got, and points `<runs>/latest` to the newest of those that are there. A view: it may be
 * removed and made again.
 *
 * @returns the folder's path
 * @throws SoftflowError `RUN_NOT_FOUND`, and those of the store
 */
export async function writeRunView(store: Store, runId: string, runsFolder: string): Promise<string> {
  const status = (await store.readRunRecord(runId, 'status'))?.value as RunStatus | undefined;
  if (!status) throw new SoftflowError('RUN_NOT_FOUND', `No record of a run ${runId} in the store ${store.root}.`);
  const folder = join(runsFolder, runId);
  const temporary = `${folder}.tmp-${randomBytes(4).toString('hex')}`;
  try {
    for (const [path, content] of await filesOf(store, status)) await writeInto(join(temporary, path), content);
    await replaceFolder(temporary, folder);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  await pointLatest(store, runsFolder, runId);
  return folder;
}

async function filesOf(store: Store, status: RunStatus): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  files.set('status.json', Buffer.from(`${JSON.stringify(status, null, 2)}\n`));
  for (const { step, key } of status.steps) {
    const manifest = key && STEPS_WITH_FILES.has(step) ? await store.readManifest(key) : undefined;
    for (const [path, ref] of Object.entries(manifest?.outputs ?? {})) files.set(path, await store.getBytes(ref));
  }
  await addDecision(store, status.runId, files);
  return files;
}

/** What was decided about the run's promotion, and the report that shows it. */
async function addDecision(store: Store, runId: string, files: Map<string, Uint8Array>): Promise<void> {
  const decision = await readDecision(store, runId);
  if (!decision) return;
  const { report, ...words } = decision;
  files.set('promotion.json', Buffer.from(`${JSON.stringify(words, null, 2)}\n`));
  if (report) files.set('report.html', await store.getBytes(report));
}

async function writeInto(path: string, content: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

/** A folder cannot replace another in one step: readers may find it missing for a moment, but never half-written. */
async function replaceFolder(from: string, to: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    await rm(to, { recursive: true, force: true });
    try {
      return await rename(from, to);
    } catch (error) {
      // Somebody else has just made the same view.
      if (attempt === 5 || (error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    }
  }
}

/** Looking at an older run again does not make it the newest. */
async function pointLatest(store: Store, runsFolder: string, runId: string): Promise<void> {
  const shown = await readlink(join(runsFolder, 'latest')).catch(() => undefined);
  if (shown && (await begun(store, runId)) < (await begun(store, shown))) return;
  const temporary = join(runsFolder, `.latest-${randomBytes(4).toString('hex')}`);
  await symlink(runId, temporary);
  await rename(temporary, join(runsFolder, 'latest'));
}

/** When a run was started, as text that sorts; empty when nobody knows. */
async function begun(store: Store, runId: string): Promise<string> {
  const record = await store.readRunRecord(runId, 'start').catch(() => undefined);
  return (record?.value as { createdAt?: string } | undefined)?.createdAt ?? '';
}

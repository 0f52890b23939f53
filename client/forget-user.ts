import type { ReleaseParams, RenderReportParams } from '../activities/contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { type ForgetReport, forgetPerson } from '../artifacts/forget.ts';
import type { Manifest } from '../artifacts/manifest.ts';
import { currentRelease } from '../artifacts/releases.ts';
import { dropSnapshot } from '../artifacts/run-sources.ts';
import type { Store } from '../artifacts/store.ts';

export interface ForgetUserOptions {
  /** How many rows of an artifact belong to the user; 0 for what is no table of users. */
  countRows(ref: ArtifactRef): Promise<number>;
  dryRun?: boolean;
}

/** A release that was trained on the user's rows. */
export interface ForgottenRelease {
  key: string;
  /** Whether it is what the pointer `current` stands at: promote another one. */
  current: boolean;
}

export interface ForgetUserReport extends ForgetReport {
  releases: ForgottenRelease[];
}

/** Forgets a user, or says what that would mean: tables, what was trained on them, releases, runs. */
export async function forgetUser(store: Store, { countRows, dryRun }: ForgetUserOptions): Promise<ForgetUserReport> {
  const current = (await currentRelease(store))?.release;
  const restsOn = (manifest: Manifest) => stepsShownBy(store, manifest);
  const report = await forgetPerson(store, { countRows, restsOn, ...(dryRun ? { dryRun } : {}) });
  // A copy of data that nobody has prepared yet stands in no step; who takes up such a run reads the source again.
  if (!dryRun) for (const runId of await store.listRuns()) await dropSnapshot(store, runId);
  const releases = report.steps.filter(({ step }) => step === 'release');
  return { ...report, releases: releases.map(({ key }) => ({ key, current: key === current })) };
}

/** A report shows examples from every step of its release, which stand in no input of it. */
async function stepsShownBy(store: Store, { step, params }: Manifest): Promise<string[]> {
  if (step !== 'renderReport') return [];
  const { release } = params as RenderReportParams;
  const { steps = [] } = ((await store.readManifest(release))?.params ?? {}) as Partial<ReleaseParams>;
  return [release, ...steps.map(({ key }) => key)];
}

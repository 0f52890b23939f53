import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { releaseOf } from '../artifacts/decisions.ts';
import { currentRelease, type ReleaseMove, releaseMoves } from '../artifacts/releases.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { ADAPTER_WEIGHTS } from '../model/peft.ts';
import type { EvaluateParams, Precision, ReleaseParams } from './contracts.ts';
import { outputOf } from './gather-run.ts';
import type { Challenger, Champion, Match } from './promotion-contracts.ts';
import { RUN_RECORDS } from './run-records.ts';
import { trainedUntil } from './trained-until.ts';

/** The part of a release's settings by which it is tested. */
interface TestedConfig extends Pick<EvaluateParams, 'prompt' | 'lora' | 'generation'> {
  model: { precision: Precision };
  encode: { tileRows: number };
}

/** A release with what its manifest says of how it was made. */
interface Made {
  release: string;
  params: ReleaseParams;
  config: TestedConfig;
}

/**
 * Finds what a promotion is decided by: the run's predictions and test windows, and how the champion is to be tested on
 * the same ones.
 *
 * @throws SoftflowError `RUN_UNFINISHED`, `RELEASE_NOT_FOUND`, `STEP_MISSING`
 */
export async function readMatch(store: Store, { runId }: { runId: string }): Promise<Match> {
  const mine = await madeBy(store, await releaseOf(store, runId));
  const challenger = await readChallenger(store, runId, mine);
  const current = await currentRelease(store);
  if (!current) return { challenger, champion: null };
  return { challenger, champion: await readChampion(store, current, mine) };
}

async function madeBy(store: Store, release: string): Promise<Made> {
  const manifest = await store.readManifest(release);
  if (!manifest)
    throw new SoftflowError(
      'RELEASE_NOT_FOUND',
      `The release ${release} is no longer in the store. Run its recipe again: only what is missing is computed.`,
      { details: { release } },
    );
  const params = manifest.params as ReleaseParams;
  return { release, params, config: params.config as TestedConfig };
}

async function readChallenger(store: Store, runId: string, { release, params }: Made): Promise<Challenger> {
  const prepared = await stepOf(store, params, 'prepare');
  const config = (await store.readRunRecord(runId, RUN_RECORDS.config))?.value as
    | { checkpoint: { every: number }; allowDifferentBackend: boolean; stallTimeout: number }
    | undefined;
  if (!config)
    throw new SoftflowError('RUN_NOT_FOUND', `The store has no config of a run ${runId}. See \`softflow list\`.`);
  return {
    runId,
    release,
    predictions: outputOf(await stepOf(store, params, 'test-soft'), 'predictions'),
    popularity: outputOf(await stepOf(store, params, 'test-popularity'), 'predictions'),
    windows: outputOf(prepared, 'windowsTest'),
    items: outputOf(prepared, 'items'),
    titles: outputOf(prepared, 'titles'),
    rolledBack: await rolledBack(store, release),
    circumstances: {
      runId,
      checkpointEverySeconds: config.checkpoint.every,
      allowDifferentBackend: config.allowDifferentBackend,
      stallTimeoutSeconds: config.stallTimeout,
    },
  };
}

async function rolledBack(store: Store, release: string): Promise<Challenger['rolledBack']> {
  const last = (await releaseMoves(store)).findLast((move) => move.release === release || move.from === release);
  return last?.move === 'rollback' && last.from === release ? { by: last.by, at: last.at } : null;
}

/** The champion answers with its own model, prompt and adapter; how it generates and what is measured is the challenger's. */
async function readChampion(store: Store, current: ReleaseMove, challenger: Made): Promise<Champion> {
  const { number, release, files } = current;
  const { params, config } = await madeBy(store, release);
  const tensor = { model: params.sources.model, precision: config.model.precision };
  const { generation } = challenger.config;
  return {
    number,
    release,
    adapter: files[`adapter/${ADAPTER_WEIGHTS}`] as ArtifactRef,
    trainedUntilMs: Date.parse(await trainedUntil(store, await stepOf(store, params, 'prepare'))),
    encode: { ...tensor, tileRows: config.encode.tileRows },
    evaluate: { ...tensor, prompt: config.prompt, lora: config.lora, generation, ks: challenger.params.ks },
  };
}

async function stepOf(store: Store, { steps }: ReleaseParams, id: string): Promise<Manifest> {
  const step = steps.find((candidate) => candidate.id === id);
  const manifest = step && (await store.readManifest(step.key));
  if (manifest) return manifest;
  throw new SoftflowError(
    'STEP_MISSING',
    `The result of step \`${id}\`${step ? ` (${step.key})` : ''}, which this promotion needs, is not in the store. ` +
      'Run the same recipe again: only what is missing is computed.',
    { details: { id, key: step?.key ?? null } },
  );
}

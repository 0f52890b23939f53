import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { digestOf } from '../artifacts/canonical-json.ts';
import type { Manifest } from '../artifacts/manifest.ts';
import { currentRelease, type ReleaseMove } from '../artifacts/releases.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { ADAPTER_WEIGHTS } from '../model/peft.ts';
import type { PrepareDataResult, ReleaseParams } from './contracts.ts';
import type { ChampionData } from './retrain-contracts.ts';
import { trainedUntil } from './trained-until.ts';

/** Keys of a config that move from night to night without anybody changing the recipe. */
const MOVING_DATA_KEYS = new Set(['asOf', 'trainUntil', 'testAfter']);

/**
 * The release that is current, with all that a retrain compares itself with; null before the first promotion.
 *
 * @param settings the part of the retrain's config that its results depend on
 * @throws SoftflowError `STEP_MISSING` when what the release rests on is no longer in the store
 */
export async function readChampion(store: Store, settings: Record<string, unknown>): Promise<ChampionData | null> {
  const current = await currentRelease(store);
  if (!current) return null;
  const params = (await requireManifest(store, current.release)).params as ReleaseParams;
  const prepared = await requireManifest(store, preparedKey(current, params));
  return {
    release: current.release,
    adapter: requireFile(current, `adapter/${ADAPTER_WEIGHTS}`),
    sources: params.sources,
    sameLora: digestOf((params.config as { lora: unknown }).lora) === digestOf(settings['lora']),
    card: prepared.outputs['card'] as ArtifactRef,
    items: prepared.outputs['items'] as ArtifactRef,
    windowsDigest: (prepared.result as PrepareDataResult).windowsDigest ?? null,
    trainedUntil: await trainedUntil(store, prepared),
    sameSettings: digestOf(lastingSettings(params.config as never)) === digestOf(lastingSettings(settings)),
  };
}

function preparedKey(current: ReleaseMove, { steps }: ReleaseParams): string {
  const step = steps.find(({ id }) => id === 'prepare');
  if (step) return step.key;
  throw missing(`The release ${current.release} names no prepared data`);
}

async function requireManifest(store: Store, key: string): Promise<Manifest> {
  const manifest = await store.readManifest(key);
  if (manifest) return manifest;
  throw missing(`Step ${key}, on which the current release rests, is no longer in the store`);
}

function requireFile({ release, files }: ReleaseMove, path: string): ArtifactRef {
  const file = files[path];
  if (file) return file;
  throw missing(`The release ${release} has no file ${path}`);
}

function missing(what: string): SoftflowError {
  return new SoftflowError(
    'STEP_MISSING',
    `${what}, so nothing can be compared with it. Run its recipe again to make it anew, or roll back: \`softflow releases\`.`,
  );
}

/** What a person has decided: without the cut-offs of the night and without the adapter that SFT begins with. */
function lastingSettings(config: Record<string, unknown>): unknown {
  const { data, sft, ...others } = config as { data: object; sft: object };
  const without = (section: object, keys: ReadonlySet<string>) =>
    Object.fromEntries(Object.entries(section).filter(([key]) => !keys.has(key)));
  return { ...others, data: without(data, MOVING_DATA_KEYS), sft: without(sft, new Set(['warmStart'])) };
}

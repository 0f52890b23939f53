import { digestOfSource, type ResolvedDataSource } from '../datasets/sources/source.ts';
import { openWeights } from '../model/weights.ts';
import type { ModelFiles, ModelSource, Sources } from './contracts.ts';
import { heartbeating } from './cpu-step.ts';
import { toFailure } from './failures.ts';

/** Where things that a config names lie on this machine; fetched when they are not there yet. */
export interface Places {
  modelFiles(source: ModelSource): Promise<ModelFiles>;
  dataSource(source: unknown): Promise<ResolvedDataSource>;
}

export interface SourceNames {
  model: ModelSource;
  data: unknown;
}

/** The activity that finds model and data and says what was found, as digests: the root of every step key. */
export function sourceResolver(places: Places): (names: SourceNames) => Promise<Sources> {
  return async (names) => {
    try {
      return await heartbeating(() => resolveSources(places, names));
    } catch (error) {
      throw toFailure(error);
    }
  };
}

/** Model and data as they are found on this machine now. */
export async function resolveSources(places: Places, { model, data }: SourceNames): Promise<Sources> {
  return {
    model: { source: model, digest: (await openWeights(await places.modelFiles(model))).digest },
    data: { digest: await digestOfSource(await places.dataSource(data)) },
  };
}

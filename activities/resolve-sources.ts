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
  const resolve = async ({ model, data }: SourceNames): Promise<Sources> => ({
    model: { source: model, digest: (await openWeights(await places.modelFiles(model))).digest },
    data: { digest: await digestOfSource(await places.dataSource(data)) },
  });
  return async (names) => {
    try {
      return await heartbeating(() => resolve(names));
    } catch (error) {
      throw toFailure(error);
    }
  };
}

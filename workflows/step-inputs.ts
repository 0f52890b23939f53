/** What preparation hands to every later step. `Ref` is an artifact, or in a plan what stands for one not made yet. */
export interface DataRefs<Ref> {
  items: Ref;
  titles: Ref;
  train: Ref;
  valid: Ref;
  test: Ref;
}

/** The inputs of each step by role: one place, so that a plan asks for the very step keys that a run will look up. */
export const stepInputs = {
  encodeTitles: <Ref>({ titles }: DataRefs<Ref>) => ({ titles }),
  /**
   * @param before training state of the epoch before; absent in epoch 1
   * @param warmStart adapter that epoch 1 starts from instead of a fresh one
   */
  trainEpoch: <Ref>(
    { train, items }: DataRefs<Ref>,
    lambda: number,
    before?: Ref,
    distilled?: Ref,
    warmStart?: Ref,
  ) => ({
    windows: train,
    items,
    ...(before === undefined && warmStart !== undefined ? { warmStart } : {}),
    ...(distilled !== undefined && lambda > 0 ? { distilled } : {}),
    ...(before !== undefined ? { state: before } : {}),
  }),
  selfDistill: <Ref>({ train, items, titles }: DataRefs<Ref>, adapter: Ref) => ({
    windows: train,
    items,
    titles,
    adapter,
  }),
  /** @param adapter absent: the base model */
  measureDistance: <Ref>({ train, items, titles }: DataRefs<Ref>, embeddings: Ref, adapter?: Ref) => ({
    windows: train,
    items,
    titles,
    embeddings,
    ...(adapter !== undefined ? { adapter } : {}),
  }),
  validate: <Ref>({ valid, items, titles }: DataRefs<Ref>, embeddings: Ref, adapter: Ref) => ({
    windows: valid,
    items,
    titles,
    embeddings,
    adapter,
  }),
  /** @param adapter absent: the base model */
  test: <Ref>({ test, items, titles }: DataRefs<Ref>, embeddings: Ref, adapter?: Ref) => ({
    windows: test,
    items,
    titles,
    embeddings,
    ...(adapter !== undefined ? { adapter } : {}),
  }),
  testPopularity: <Ref>({ test, items, titles }: DataRefs<Ref>) => ({ windows: test, items, titles }),
  release: <Ref>(sftAdapter: Ref, softAdapter: Ref) => ({ sftAdapter, softAdapter }),
};

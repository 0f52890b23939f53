/** Search attributes of runs and retrains: names and types as the server has to know them. */
export const ATTRIBUTES = {
  /** Name of the recipe's run: what `softflow list` shows before the last dash. */
  name: { name: 'SoftflowName', type: 'KEYWORD' },
  dataset: { name: 'SoftflowDataset', type: 'KEYWORD' },
  model: { name: 'SoftflowModel', type: 'KEYWORD' },
  /** Of the resolved config but its name and tags. */
  configHash: { name: 'SoftflowConfigHash', type: 'KEYWORD' },
  stage: { name: 'SoftflowStage', type: 'KEYWORD' },
  bestHr10: { name: 'SoftflowBestHR10', type: 'DOUBLE' },
} as const;

export const NAMES: ReadonlySet<string> = new Set(Object.values(ATTRIBUTES).map(({ name }) => name));

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configReference } from '../../cli/config-reference.ts';
import { configJsonSchema, configSchemaFile, type JsonSchema, PATH_FIELDS, schemaAt } from '../../cli/config-schema.ts';

function leaves(schema: JsonSchema, path: string[] = []): [string, JsonSchema][] {
  return (schema.anyOf ?? [schema]).flatMap((variant) =>
    variant.properties
      ? Object.entries(variant.properties).flatMap(([key, child]) => leaves(child, [...path, key]))
      : [[path.join('.'), variant] as [string, JsonSchema]],
  );
}

describe('the schema of a recipe', () => {
  it('is the one that is shipped (else: softflow config schema > docs/config.schema.json && npm run format)', () => {
    const shipped = readFileSync(new URL('../../docs/config.schema.json', import.meta.url), 'utf8');
    expect(JSON.parse(shipped)).toStrictEqual(JSON.parse(configSchemaFile()));
  });

  it('has a page of tables (else: softflow config schema --markdown > docs/config.md)', () => {
    const page = readFileSync(new URL('../../docs/config.md', import.meta.url), 'utf8');
    expect(page).toBe(configReference());
  });

  it('says what every field means', () => {
    const silent = leaves(configJsonSchema()).filter(([, { description }]) => !description);
    expect(silent.map(([path]) => path)).toEqual([]);
  });

  it('knows every field that is read as a path', () => {
    for (const path of PATH_FIELDS) expect(schemaAt(path), path.join('.')).toMatchObject({ type: 'string' });
  });

  it('has a default for every field but those of a chosen source', () => {
    const without = leaves(configJsonSchema())
      .filter(([, schema]) => schema.default === undefined && schema.const === undefined)
      .map(([path]) => path);
    expect(without).toEqual([
      'model.source.folder',
      'model.source.gguf',
      'model.source.hub',
      'model.source.tokenEnv',
      'data.source.csv.interactions',
      'data.source.csv.valid',
      'data.source.csv.test',
      'data.source.csv.items',
      'data.source.csv.columns.split',
      'data.source.recbole.folder',
      'data.source.recbole.name',
      'data.source.recbole.benchmark',
      'data.source.parquet.folder',
      'data.source.parquet.valid',
      'data.source.parquet.test',
      'data.source.parquet.items',
      'data.source.parquet.columns.split',
      'data.source.postgres.urlEnv',
      'data.source.postgres.query',
      'data.source.postgres.itemsQuery',
      'data.source.postgres.columns.split',
      'data.asOf',
      'data.knownAt',
      'data.trainUntil',
      'data.testAfter',
      'prompt.template',
      'sft.maxEpochs',
      'sft.warmStart.release',
      'sft.warmStart.adapter.uri',
      'sft.warmStart.adapter.sha256',
      'sft.warmStart.adapter.bytes',
      'soft.maxEpochs',
      'notify.webhook.urlEnv',
      'notify.command',
      'retention.days',
      'stepQueues.prepareData',
      'stepQueues.encodeTitles',
      'stepQueues.trainEpoch',
      'stepQueues.selfDistill',
      'stepQueues.measureDistance',
      'stepQueues.evaluate',
      'stepQueues.evaluatePopularity',
      'stepQueues.release',
      'stepQueues.renderReport',
      'cost.perHour',
    ]);
  });
});

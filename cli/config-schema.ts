import * as z from 'zod';
import { RunConfigSchema } from '../workflows/run-config.ts';

/** The part of JSON Schema that the run config's schema uses. */
export interface JsonSchema {
  type?: string | string[];
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
}

export type ConfigPath = readonly (string | number)[];

/** Fields that hold a path: resolved against the recipe's folder, and the only ones where `${ENV}` is read. */
export const PATH_FIELDS: readonly ConfigPath[] = [
  ['data', 'source', 'csv', 'interactions'],
  ['data', 'source', 'csv', 'valid'],
  ['data', 'source', 'csv', 'test'],
  ['data', 'source', 'csv', 'items'],
  ['data', 'source', 'recbole', 'folder'],
  ['data', 'source', 'parquet', 'folder'],
  ['data', 'source', 'parquet', 'valid'],
  ['data', 'source', 'parquet', 'test'],
  ['data', 'source', 'parquet', 'items'],
  ['model', 'source', 'folder'],
  ['model', 'source', 'gguf'],
];

let cached: JsonSchema | undefined;

/** JSON Schema of a recipe as a person writes it: fields with a default may be left out. */
export function configJsonSchema(): JsonSchema {
  cached ??= z.toJSONSchema(RunConfigSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  return cached;
}

/** The schema file as it is shipped (`docs/config.schema.json`, `softflow config schema`). */
export function configSchemaFile(): string {
  const titled = { title: 'softflow recipe', ...configJsonSchema() };
  return `${JSON.stringify(titled, null, 2)}\n`;
}

/** The schema of one key, or undefined where the config has none; in a union, that of the variant with the key. */
export function childSchema(schema: JsonSchema, key: string | number): JsonSchema | undefined {
  if (typeof key === 'number') return schema.items;
  for (const variant of schema.anyOf ?? [schema])
    if (variant.properties && Object.hasOwn(variant.properties, key)) return variant.properties[key];
  return undefined;
}

export function schemaAt(path: ConfigPath): JsonSchema | undefined {
  let schema: JsonSchema | undefined = configJsonSchema();
  for (const key of path) schema = schema && childSchema(schema, key);
  return schema;
}

/** The key that names each variant of a union of mappings: `registry`, `csv`, ... */
export function variantKeys(schema: JsonSchema): string[] {
  return (schema.anyOf ?? []).map((variant) => variant.required?.[0]).filter((key) => key !== undefined);
}

/** Keys that may stand in this mapping; in a union those of every variant. */
export function knownKeys(schema: JsonSchema): string[] {
  return (schema.anyOf ?? [schema]).flatMap((variant) => Object.keys(variant.properties ?? {}));
}

/** Every dotted path of the config whose last part is `key`. */
export function pathsEndingIn(key: string, schema = configJsonSchema(), prefix: string[] = []): string[] {
  return (schema.anyOf ?? [schema]).flatMap((variant) =>
    Object.entries(variant.properties ?? {}).flatMap(([name, child]) => {
      const path = [...prefix, name];
      return [
        ...(name.toLowerCase() === key.toLowerCase() ? [path.join('.')] : []),
        ...pathsEndingIn(key, child, path),
      ];
    }),
  );
}

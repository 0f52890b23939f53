import { configJsonSchema, type JsonSchema, variantKeys } from './config-schema.ts';

/** Every field of a recipe as a page of tables, one a section: what `softflow config schema --markdown` prints. */
export function configReference(): string {
  const { properties = {} } = configJsonSchema();
  const plain = Object.entries(properties).filter(([, schema]) => !isSection(schema));
  const sections = Object.entries(properties).filter(([, schema]) => isSection(schema));
  return [
    '# Recipe reference',
    INTRODUCTION,
    table(plain.flatMap(([name, schema]) => rows(name, schema))),
    ...sections.flatMap(([name, schema]) => section(name, schema)),
  ]
    .join('\n\n')
    .concat('\n');
}

const INTRODUCTION = `Every field of a recipe, as \`softflow config schema --markdown\` prints it; for editors there is
[config.schema.json](config.schema.json). Of \`source\`, exactly one kind is given. Fields without a default are required there;
elsewhere they may be left out.`;

const isSection = (schema: JsonSchema): boolean => (schema.anyOf ?? [schema]).some((variant) => variant.properties);

function section(name: string, schema: JsonSchema): string[] {
  return [
    `## ${name}`,
    ...(schema.description ? [schema.description] : []),
    table(Object.entries(schema.properties ?? {}).flatMap(([key, child]) => rows(`${name}.${key}`, child))),
  ];
}

interface Row {
  path: string;
  schema: JsonSchema;
}

/** A field, or every field of what lies below it. */
function rows(path: string, schema: JsonSchema): Row[] {
  if (!isSection(schema)) return [{ path, schema }];
  const kinds = variantKeys(schema);
  const choice = kinds.length > 0 ? [{ path, schema: { ...schema, enum: kinds } }] : [];
  const own = schema.anyOf ?? [schema];
  return [
    ...choice,
    ...own.flatMap(({ properties = {} }) =>
      Object.entries(properties).flatMap(([key, child]) => rows(`${path}.${key}`, child)),
    ),
  ];
}

function table(all: readonly Row[]): string {
  const lines = all.map(
    ({ path, schema }) => `| \`${path}\` | ${valuesOf(schema)} | ${defaultOf(schema)} | ${meaning(schema)} |`,
  );
  return ['| field | values | default | meaning |', '| --- | --- | --- | --- |', ...lines].join('\n');
}

const code = (value: unknown): string => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
const meaning = ({ description = '' }: JsonSchema): string => description.replaceAll('|', '\\|').replaceAll('<', '\\<');

const defaultOf = (schema: JsonSchema): string => (schema.default === undefined ? '' : code(schema.default));

/** What may stand there: `a`, `b` for a choice, else type and limits in words. */
function valuesOf(schema: JsonSchema): string {
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum) return schema.enum.map(code).join(', ');
  if (schema.anyOf) return schema.anyOf.map(valuesOf).join(' or ');
  if (schema.items) return `list of ${schema.items.enum ? valuesOf(schema.items) : (schema.items.type ?? 'values')}`;
  return `${[schema.type ?? 'any'].flat().join(' or ')}${limits(schema)}`;
}

/** No limit that only keeps a number exact. */
function limits({ minimum, maximum, exclusiveMinimum }: JsonSchema): string {
  const upper = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER ? maximum : undefined;
  if (minimum !== undefined && upper !== undefined) return `, ${minimum} to ${upper}`;
  if (minimum !== undefined) return `, ${minimum} or more`;
  return exclusiveMinimum === undefined ? '' : `, above ${exclusiveMinimum}`;
}

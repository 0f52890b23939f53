import { isMapping } from './config-faults.ts';
import { type ConfigPath, childSchema, configJsonSchema, type JsonSchema, schemaAt } from './config-schema.ts';
import { clonePlain, readYaml } from './config-yaml.ts';

/** One `-s key=value` of the command line. */
export interface Override {
  option: string;
  path: string[];
  raw: string;
}
export interface OverrideFault {
  option: string;
  message: string;
}

const KEY = /^[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*)*$/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

export function parseOverrides(options: readonly string[]): { overrides: Override[]; faults: OverrideFault[] } {
  const overrides: Override[] = [];
  const faults: OverrideFault[] = [];
  for (const option of options) {
    const equals = option.indexOf('=');
    const key = option.slice(0, Math.max(equals, 0)).trim();
    if (equals < 0 || !KEY.test(key) || key.split('.').includes('constructor') || key.split('.').includes('prototype'))
      faults.push({ option, message: 'expected key=value, for instance -s soft.curriculumAlpha=1' });
    else overrides.push({ option, path: key.split('.'), raw: option.slice(equals + 1) });
  }
  return { overrides, faults };
}

/** The config with the overrides set, each typed by the schema; later ones win. */
export function applyOverrides(
  config: unknown,
  overrides: readonly Override[],
): { config: unknown; faults: OverrideFault[] } {
  const result = isMapping(config) ? clonePlain(config) : {};
  const faults: OverrideFault[] = [];
  for (const { option, path, raw } of overrides) {
    try {
      setAt(result as Record<string, unknown>, path, typedValue(raw, schemaAt(path)));
    } catch (error) {
      faults.push({ option, message: (error as Error).message });
    }
  }
  return { config: result, faults };
}

/** Text of the command line as the type the schema asks for; left as text where it does not fit, for the schema to refuse. */
export function typedValue(raw: string, schema: JsonSchema | undefined): unknown {
  const text = raw.trim();
  const types = [schema?.type ?? []].flat();
  if (text === 'null' && types.includes('null')) return null;
  if (types.includes('number') || types.includes('integer')) return NUMBER.test(text) ? Number(text) : raw;
  if (types.includes('boolean')) return text === 'true' ? true : text === 'false' ? false : raw;
  if (types.includes('array')) return text.startsWith('[') ? flow(text) : listOf(text, schema?.items);
  if (schema?.anyOf || types.includes('object')) return /^[{[]/.test(text) ? flow(text) : raw;
  return raw;
}

const listOf = (text: string, items: JsonSchema | undefined): unknown[] =>
  text === '' ? [] : text.split(',').map((part) => typedValue(part.trim(), items));

function flow(text: string): unknown {
  const { value, faults } = readYaml(text);
  if (faults[0]) throw new Error(faults[0].message);
  return value;
}

function setAt(root: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let target = root;
  let schema: JsonSchema | undefined = configJsonSchema();
  for (const [depth, key] of path.entries()) {
    if (schema?.anyOf) keepVariantOf(target, key, schema);
    schema = schema && childSchema(schema, key);
    if (depth === path.length - 1) break;
    const child = Object.hasOwn(target, key) ? target[key] : undefined;
    if (child !== undefined && child !== null && !isMapping(child))
      throw new Error(
        `${path.slice(0, depth + 1).join('.')} is a single value and has no ${path.slice(depth + 1).join('.')}`,
      );
    const next = isMapping(child) ? child : {};
    target[key] = next;
    target = next;
  }
  target[path.at(-1) as string] = value;
}

/** Naming another kind of source on the command line replaces the recipe's kind instead of clashing with it. */
function keepVariantOf(target: Record<string, unknown>, key: string, schema: JsonSchema): void {
  const variant = schema.anyOf?.find((option) => option.properties && Object.hasOwn(option.properties, key));
  if (!variant) return;
  for (const other of Object.keys(target))
    if (!Object.hasOwn(variant.properties ?? {}, other) && schemaHas(schema, other)) delete target[other];
}

const schemaHas = (schema: JsonSchema, key: string): boolean => childSchema(schema, key) !== undefined;

/** Whether one path lies on the way to the other. */
export const onOnePath = (a: ConfigPath, b: ConfigPath): boolean =>
  a.slice(0, Math.min(a.length, b.length)).every((key, index) => key === b[index]);

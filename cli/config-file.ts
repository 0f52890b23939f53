import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { type RunConfig, RunConfigSchema } from '../workflows/run-config.ts';
import { type Fault, faultsOf, isMapping, valueAt } from './config-faults.ts';
import { applyOverrides, type Override, onOnePath, parseOverrides } from './config-overrides.ts';
import { type ConfigPath, PATH_FIELDS } from './config-schema.ts';
import { namesSecret, secretNameFault, shownOption } from './config-secrets.ts';
import { MAX_CONFIG_BYTES, readYaml, type YamlSource } from './config-yaml.ts';

export interface LoadOptions {
  /** `key=value` texts, as after `-s`. */
  overrides?: readonly string[];
  /** Where relative paths given in `overrides` start. Default: the working directory. */
  cwd?: string;
  env?: Record<string, string | undefined>;
}
export interface LoadedConfig {
  /** Resolved: every default filled in, every path absolute. */
  config: RunConfig;
  /** Absolute path of the recipe. */
  file: string;
}

const ENV_REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/**
 * Reads a recipe, applies `-s` overrides and resolves it.
 * @throws SoftflowError `CONFIG_INVALID` with every fault at once (each with file:line:column, or the option it
 * came from), `CONFIG_UNREADABLE` when the file cannot be read.
 */
export function loadConfigFile(path: string, options: LoadOptions = {}): LoadedConfig {
  const cwd = options.cwd ?? process.cwd();
  const file = resolve(cwd, path);
  const shown = shownPath(file, cwd);
  const config = parseConfig(readText(file, shown), { ...options, cwd, file, shown });
  return { config, file };
}

function shownPath(file: string, cwd: string): string {
  const near = relative(cwd, file) || '.';
  return near.startsWith('..') ? file : near;
}

function readText(file: string, shown: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (!stat) throw unreadable(shown, 'no such file', 'Check the path, or have a recipe written: softflow init');
  if (!stat.isFile())
    throw unreadable(shown, 'expected a YAML file, found a folder or device', 'Name the recipe file itself.');
  if (stat.size > MAX_CONFIG_BYTES)
    throw unreadable(shown, `expected at most ${MAX_CONFIG_BYTES} bytes, found ${stat.size}`, 'Is this a recipe?');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (cause) {
    const why = cause instanceof TypeError ? 'not UTF-8 text' : (cause as Error).message;
    throw unreadable(shown, why, 'Save the recipe as UTF-8 text that you may read.');
  }
}

const unreadable = (shown: string, why: string, next: string) =>
  new SoftflowError('CONFIG_UNREADABLE', `${shown}: ${why}. ${next}`, { details: { file: shown } });

interface ParseContext extends LoadOptions {
  file: string;
  shown: string;
}

/** Resolves a recipe's text; `context.file` says where its relative paths start. */
export function parseConfig(text: string, context: ParseContext): RunConfig {
  const source = readYaml(text);
  if (source.faults.length)
    throw invalid(
      source.faults.map(({ offset, message }) => `${context.shown}:${source.linePlace(offset)} ${message}`),
    );
  if (source.value !== null && source.value !== undefined && !isMapping(source.value))
    throw invalid([`${context.shown}:1:1 expected a mapping of keys like \`data:\` and \`model:\``]);

  const parsed = parseOverrides(context.overrides ?? []);
  const applied = applyOverrides(source.value ?? {}, parsed.overrides);
  const optionFaults = [...parsed.faults, ...applied.faults].map(
    ({ option, message }) => `-s ${shownOption(option)}: ${message}`,
  );
  const faults = checkText(applied.config);
  const withPaths = resolvePaths(applied.config, parsed.overrides, context, faults);
  const result = RunConfigSchema.safeParse(withPaths);
  if (!result.success) faults.push(...faultsOf(result.error.issues, withPaths));
  faults.push(...missingFiles(withPaths, faults));
  const offset = (fault: Fault) => source.offsetOf(fault.path, fault.atKey);
  const lines = faults
    .sort((a, b) => offset(a) - offset(b))
    .map((fault) => faultLine(fault, source, parsed.overrides, context.shown));
  if (optionFaults.length + lines.length || !result.success) throw invalid([...optionFaults, ...lines]);
  return result.data;
}

/** Every fault at once. */
export function invalid(lines: string[]): SoftflowError {
  const head = lines.length === 1 ? '' : `${lines.length} faults in the config\n`;
  return new SoftflowError('CONFIG_INVALID', `${head}${lines.join('\n')}`, { details: { faults: lines } });
}

function faultLine(fault: Fault, source: YamlSource, overrides: readonly Override[], shown: string): string {
  const path = fault.path.join('.');
  const option = overrides.findLast((override) => onOnePath(override.path, fault.path));
  if (option)
    return `-s ${shownOption(option.option)}: ${path === option.path.join('.') ? '' : `${path}: `}${fault.message}`;
  return `${shown}:${source.linePlace(source.offsetOf(fault.path, fault.atKey))} ${path ? `${path}: ` : ''}${fault.message}`;
}

const isPathField = (path: ConfigPath): boolean => PATH_FIELDS.some((field) => field.join('.') === path.join('.'));

/** `${ENV}` outside a path, and a secret where the name of a variable belongs. */
function checkText(value: unknown, path: ConfigPath = []): Fault[] {
  if (typeof value === 'string') {
    const secret = namesSecret(path) ? secretNameFault(value) : undefined;
    if (secret !== undefined) return [{ path, message: secret }];
    if (!isPathField(path) && new RegExp(ENV_REFERENCE).test(value))
      return [
        { path, message: `\${NAME} is read in paths only (${PATH_FIELDS.map((field) => field.join('.')).join(', ')})` },
      ];
    return [];
  }
  if (Array.isArray(value)) return value.flatMap((child, index) => checkText(child, [...path, index]));
  return isMapping(value) ? Object.entries(value).flatMap(([key, child]) => checkText(child, [...path, key])) : [];
}

/** A copy with `${ENV}` filled in and every path absolute: those of the recipe from its folder, those of `-s` from `cwd`. */
function resolvePaths(
  config: unknown,
  overrides: readonly Override[],
  context: ParseContext,
  faults: Fault[],
): unknown {
  const copy = structuredClone(config);
  for (const field of PATH_FIELDS) {
    const written = valueAt(copy, field);
    if (typeof written !== 'string' || written === '') continue;
    const expanded = written.replace(ENV_REFERENCE, (reference, name: string) => {
      const value = (context.env ?? process.env)[name];
      if (!value) faults.push({ path: field, message: `the environment variable ${name} is not set` });
      return value ?? reference;
    });
    const fromOption = overrides.some((override) => onOnePath(override.path, field));
    const base = fromOption ? (context.cwd ?? process.cwd()) : dirname(context.file);
    const parent = valueAt(copy, field.slice(0, -1)) as Record<string, unknown>;
    parent[field.at(-1) as string] = isAbsolute(expanded) ? expanded : resolve(base, expanded);
  }
  return copy;
}

function missingFiles(config: unknown, known: readonly Fault[]): Fault[] {
  return PATH_FIELDS.flatMap((path) => {
    const value = valueAt(config, path);
    if (typeof value !== 'string' || known.some((fault) => onOnePath(fault.path, path))) return [];
    if (value === '') return [{ path, message: 'expected a path, got ""' }];
    return existsSync(value) ? [] : [{ path, message: `no such file or folder: ${value}` }];
  });
}

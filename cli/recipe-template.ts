import { readdirSync, readFileSync } from 'node:fs';
import { basename, extname, join, relative, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { suggest } from '../client/suggest.ts';
import type { Mapping } from '../datasets/inspect/mapping.ts';
import { SoftflowError } from '../errors.ts';
import { packageRoot } from '../setup/paths.ts';
import { oneLine } from './terminal.ts';

/** The schema beside a recipe, which an editor reads. */
export const SCHEMA_FILE = 'softflow.schema.json';
const SCHEMA_LINE = /^# yaml-language-server: \$schema=.*\n/;
/** The comment at the beginning of a recipe. */
const HEADER = /^(#.*\n)+/;
const folder = (): string => join(packageRoot(), 'recipes');

/** Names of the recipes that come with softflow. */
export function templateNames(): string[] {
  return readdirSync(folder())
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => basename(name, '.yaml'))
    .sort();
}

/** Text of a recipe that comes with softflow, its comments included, for another place: `file`. */
export function templateText(name: string, file?: string): string {
  const names = templateNames();
  if (!names.includes(name)) {
    const near = suggest(name, names);
    throw new SoftflowError(
      'USAGE',
      `--template ${oneLine(name, 40)}: expected ${names.join(', ')}${near ? `, did you mean "${near}"?` : '.'}`,
    );
  }
  const text = withSchema(readFileSync(join(folder(), `${name}.yaml`), 'utf8'));
  return file === undefined ? text : withCommandsFor(text, basename(file));
}

/** A recipe over a person's own data: the template of CSV files, its comments kept, with the data as it was found. */
export function recipeFor(file: string, { data }: Required<Pick<Mapping, 'data'>>, dataFile: string): string {
  const document = parseDocument(templateText('csv').replace(HEADER, ''));
  document.set('name', nameOf(file));
  document.setIn(['data', 'source'], document.createNode(withPathsFrom(file, data.source)));
  const header = [
    `yaml-language-server: $schema=./${SCHEMA_FILE}`,
    '',
    `Made by softflow init from ${basename(dataFile)}. Next:`,
    '',
    `  softflow validate ${basename(file)}   # every fault at once`,
    `  softflow plan ${basename(file)}       # what it will take`,
    `  softflow run ${basename(file)}`,
  ];
  const comment = header.map((line) => `# ${line}`.trimEnd()).join('\n');
  return `${comment}\n${document.toString({ lineWidth: 120 })}`;
}

/** The name of a run is told by the name of its recipe. */
function nameOf(file: string): string {
  const name = basename(file, extname(file))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '');
  return name.slice(0, 64) || 'soft';
}

const PATHS = new Set(['interactions', 'valid', 'test', 'items', 'folder']);

/** Paths of a source, which are those of the command line, as seen from the recipe. */
function withPathsFrom(file: string, source: Record<string, unknown>): Record<string, unknown> {
  const from = (path: string) => relative(join(file, '..'), resolve(path)) || '.';
  return Object.fromEntries(
    Object.entries(source).map(([kind, fields]) => [
      kind,
      Object.fromEntries(
        Object.entries(fields as object).map(([key, value]) => [
          key,
          PATHS.has(key) && typeof value === 'string' ? from(value) : value,
        ]),
      ),
    ]),
  );
}

/** The commands at its beginning name the file that it becomes. */
const withCommandsFor = (text: string, file: string): string =>
  text.replace(HEADER, (header) =>
    header.replace(/(softflow \w+ )(?:recipes\/[\w-]+|my)\.yaml/g, (_, command) => `${command}${file}`),
  );

const withSchema = (text: string): string =>
  text.replace(SCHEMA_LINE, `# yaml-language-server: $schema=./${SCHEMA_FILE}\n`);

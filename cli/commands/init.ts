import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import { configSchemaFile } from '../config-schema.ts';
import { EXIT } from '../exit-codes.ts';
import { withSettings } from '../recipe-settings.ts';
import { recipeFor, SCHEMA_FILE, templateText } from '../recipe-template.ts';
import { sanitize, type Terminal } from '../terminal.ts';

export interface InitOptions {
  template?: string;
  from?: string;
  items?: string;
  /** `key=value` texts that are written into the recipe. */
  set: string[];
  json?: boolean;
}

/** Writes a commented recipe, from a template or over a person's own data, and the schema that editors read. */
export async function init(file: string, options: InitOptions, terminal: Terminal): Promise<number> {
  if (options.from !== undefined && options.template !== undefined)
    throw new SoftflowError(
      'USAGE',
      'Expected --from or --template, got both: data of your own make a recipe of their own.',
    );
  if (options.items !== undefined && options.from === undefined)
    throw new SoftflowError('USAGE', '--items names the titles of the data that --from names; give both.');
  const { text, notes } =
    options.from === undefined ? fromTemplate(file, options) : await recipeFromData(file, options.from, options);
  writeNew(file, withSettings(text, options.set));
  const schema = join(dirname(file), SCHEMA_FILE);
  const written = [file, ...(writeIfMissing(schema, configSchemaFile()) ? [schema] : [])].map(shown);
  if (options.json) terminal.out(JSON.stringify({ written, notes }));
  else {
    for (const path of written) terminal.out(`wrote ${path}`);
    for (const note of notes) terminal.out(`${terminal.paint.yellow('note')}  ${sanitize(note)}`);
    terminal.out(`Next: softflow validate ${shown(file)}, then softflow plan ${shown(file)}`);
  }
  return EXIT.ok;
}

const shown = (path: string): string => relative(process.cwd(), resolve(path));

function fromTemplate(file: string, { template = 'csv' }: InitOptions): { text: string; notes: string[] } {
  const notes = template === 'csv' ? ['Change the lines that say "change" to your files and their columns.'] : [];
  return { text: templateText(template, file), notes };
}

/** A recipe over a person's own data. @throws SoftflowError `DATA_UNREADABLE` where it has to be converted first */
export async function recipeFromData(
  file: string,
  from: string,
  { items }: Pick<InitOptions, 'items'>,
): Promise<{ text: string; notes: string[] }> {
  const { inspectFile } = await import('../../datasets/inspect/inspect-data.ts');
  const { mapping } = await inspectFile(from, items === undefined ? {} : { items });
  const { data, notes } = mapping;
  if (data) return { text: recipeFor(file, { data }, from), notes };
  throw new SoftflowError('DATA_UNREADABLE', `No recipe can be made from ${from}: ${notes.join(' ')}`, {
    details: { path: from },
  });
}

/** Never over a file that is there, nor where a link points. */
function writeNew(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(path, text, { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new SoftflowError(
      'RECIPE_EXISTS',
      `${shown(path)} is there already, and softflow init overwrites nothing. Name another file: softflow init another.yaml`,
      { details: { path } },
    );
  }
}

function writeIfMissing(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

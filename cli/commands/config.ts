import { stringify } from 'yaml';
import { loadConfigFile } from '../config-file.ts';
import { configReference } from '../config-reference.ts';
import { configSchemaFile } from '../config-schema.ts';
import { EXIT } from '../exit-codes.ts';
import type { Terminal } from '../terminal.ts';

interface RecipeOptions {
  set: string[];
  json?: boolean;
}

export async function validate(recipe: string, options: RecipeOptions, terminal: Terminal): Promise<number> {
  const { config, file } = loadConfigFile(recipe, { overrides: options.set });
  if (options.json) terminal.out(JSON.stringify({ valid: true, file, name: config.name }));
  else terminal.out(`${recipe} is a valid recipe. Next: softflow plan ${recipe}, then softflow run ${recipe}`);
  return EXIT.ok;
}

export async function showConfig(recipe: string, options: RecipeOptions, terminal: Terminal): Promise<number> {
  const { config } = loadConfigFile(recipe, { overrides: options.set });
  terminal.out((options.json ? JSON.stringify(config, null, 2) : stringify(config)).trimEnd());
  return EXIT.ok;
}

export async function showSchema({ markdown }: { markdown?: boolean }, terminal: Terminal): Promise<number> {
  terminal.out((markdown ? configReference() : configSchemaFile()).trimEnd());
  return EXIT.ok;
}

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfigFile } from '../../cli/config-file.ts';

const recipes = fileURLToPath(new URL('../../recipes', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-recipes-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Files of the user's own that a recipe names; they are not shipped. */
const OWN_FILES = ['interactions.csv', 'items.csv'];

describe('every recipe that is shipped', () => {
  for (const file of OWN_FILES) writeFileSync(join(folder, file), '');
  const names = readdirSync(recipes).filter((name) => name.endsWith('.yaml'));

  it('is there', () => {
    expect(names).toEqual(expect.arrayContaining(['demo.yaml', 'ml-100k.yaml', 'planted.yaml']));
  });

  it.each(names)('%s is valid, names its schema, and opens with the command that runs it', (name) => {
    const text = readFileSync(join(recipes, name), 'utf8');
    writeFileSync(join(folder, name), text);
    expect(loadConfigFile(name, { cwd: folder }).config.name).toMatch(/^[a-z]/);
    expect(text.split('\n')[0]).toBe('# yaml-language-server: $schema=../docs/config.schema.json');
    expect(text).toMatch(/^# +npx softflow run \S+\.yaml/m);
  });
});

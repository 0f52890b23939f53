import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readYaml } from '../../cli/config-yaml.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const section = (heading: string): string => readme.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';

/** Paths of the tree, each with its folder. */
function treePaths(): string[] {
  let folder = '';
  return (section('Where things are').split('```')[1] ?? '').split('\n').flatMap((line) => {
    const names = line.trim().match(/^(?:[\w./-]+\.(?:ts|mjs)|[\w-]+\/)(?:, (?:[\w./-]+\.(?:ts|mjs)|[\w-]+\/))*/)?.[0];
    if (!names) return [];
    if (!line.startsWith(' ')) folder = names.endsWith('/') ? names : '';
    return names.split(', ').map((name) => (line.startsWith(' ') ? folder + name : name));
  });
}

describe('the README', () => {
  it('names only files that are there', () => {
    const paths = treePaths();
    expect(paths.length).toBeGreaterThan(120);
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('names only commands that there are', () => {
    const files = readdirSync(join(root, 'cli')).filter((name) => /(^program|-commands)\.ts$/.test(name));
    const program = files.map((name) => readFileSync(join(root, 'cli', name), 'utf8')).join('\n');
    const table = section('Commands').match(/^\| `[^|]+\|/gm) ?? [];
    const commands = table.flatMap((cell) => [...cell.matchAll(/`(?:softflow )?([a-z-]+)/g)].map((match) => match[1]));
    expect(commands).toContain('doctor');
    for (const command of commands) expect(program).toMatch(new RegExp(`['(]${command}[ '<]`));
  });

  it('shows a recipe for your own data that is valid', () => {
    const recipe = section('Your own data').split('```yaml\n')[1]?.split('```')[0] ?? '';
    const parsed = RunConfigSchema.safeParse(readYaml(recipe).value);
    expect(parsed.error?.issues).toBeUndefined();
  });
});

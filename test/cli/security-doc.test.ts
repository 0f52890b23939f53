import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const text = (path: string) => readFileSync(join(root, path), 'utf8');
const sources = (folder: string, ending: string) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(ending))
    .map((name) => text(join(folder, name)))
    .join('\n');

it('SECURITY.md says who is trusted, how to report, and names only variables, codes and options that there are (S13)', () => {
  const security = text('SECURITY.md');
  for (const part of [
    'Versions:',
    'Report a weakness',
    'Who is trusted with what',
    'Not defended against',
    'stays in clear',
  ])
    expect(security).toContain(part);
  const names = (pattern: RegExp) => [...new Set([...security.matchAll(pattern)].map((match) => match[1] as string))];

  const codes = text('docs/errors.md');
  const known = ['client', 'encryption', 'cli'].map((folder) => sources(folder, '.ts')).join('\n');
  const temporal = sources('node_modules/@temporalio/envconfig/lib', '.js');
  const words = names(/`((?:TEMPORAL|SOFTFLOW|ENCRYPTION|PAYLOAD)_[A-Z_]+)/g);
  expect(words.length).toBeGreaterThan(12);
  const unknown = (name: string) =>
    ![`'${name}'`, `\`${name}\``].some((quoted) => (known + temporal + codes).includes(quoted));
  expect(words.filter(unknown)).toEqual([]);
  const options = names(/softflow codec-server[^`]*?(--[a-z-]+)/g).concat(names(/with `(--[a-z-]+)`/g));
  expect(options.length).toBeGreaterThan(1);
  expect(options.filter((option) => !known.includes(`'${option} <`))).toEqual([]);
  const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> };
  expect(names(/`npm run ([a-z]+)`/g).filter((script) => !scripts[script])).toEqual([]);
});

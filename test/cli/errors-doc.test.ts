import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = [
  'cli',
  'client',
  'workflows',
  'activities',
  'model',
  'datasets',
  'artifacts',
  'workers',
  'report',
  'ui',
  'setup',
];

function raisedCodes(): string[] {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(root, folder, name)),
  );
  const codes = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/SoftflowError\(\s*'([A-Z0-9_]+)'/g)].map((match) => match[1] as string),
  );
  return [...new Set(codes)].sort();
}

describe('docs/errors.md', () => {
  it('explains every code that softflow raises', () => {
    const explained = readFileSync(join(root, 'docs', 'errors.md'), 'utf8');
    const codes = raisedCodes();
    expect(codes.length).toBeGreaterThan(50);
    expect(codes.filter((code) => !explained.includes(`\`${code}\``))).toEqual([]);
  });
});

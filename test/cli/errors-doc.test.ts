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
  'encryption',
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

  it('lists no code that no test names', () => {
    const explained = readFileSync(join(root, 'docs', 'errors.md'), 'utf8');
    const tables = explained.split('\n').filter((line) => line.startsWith('|'));
    const listed = tables.flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([A-Z][A-Z0-9_]+)`/g)]);
    const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => readFileSync(join(root, 'test', name), 'utf8'))
      .join('\n');
    const codes = [...new Set([...listed.map((match) => match[1] as string), ...raisedCodes()])];
    expect(codes.length).toBeGreaterThan(100);
    expect(codes.filter((code) => !new RegExp(`\\b${code}\\b`).test(tests))).toEqual([]);
  });
});

import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

interface Reference {
  apiReference: () => string;
  exportsOf: (path: string) => { name: string; file: string }[];
  declarationOf: (dist: string, file: string, name: string) => { comment: string; code: string };
}

const { apiReference, exportsOf, declarationOf } = (await import(
  new URL('../../bin/reference.mjs', import.meta.url).href
)) as Reference;
const dist = new URL('../../dist', import.meta.url).pathname;

test('docs/api-reference.md is that of the declarations (else: npm run reference)', async () => {
  expect(await readFile(new URL('../../docs/api-reference.md', import.meta.url), 'utf8')).toBe(apiReference());
});

test('the reference has every export once, whole, with its comment and without what is private', () => {
  const names = exportsOf(`${dist}/index.d.ts`).map(({ name }) => name);
  const headings = [...apiReference().matchAll(/^### (\w+)$/gm)].map((match) => match[1]);
  expect([...headings].sort()).toEqual([...names].sort());
  const { comment, code } = declarationOf(dist, 'workers/plugin.ts', 'SoftflowPlugin');
  expect(comment).toMatch(/^Adds SOFT to a Temporal worker of your own/);
  expect(code).toMatch(/^class SoftflowPlugin implements WorkerPlugin \{[\s\S]*runWorker\([\s\S]*\n\}$/);
  expect(code).not.toContain('private');
});

import { readFile } from 'node:fs/promises';
import type { Field } from 'apache-arrow';
import { expect, test } from 'vitest';
import { CONTRACT_VERSIONS, type StepName } from '../../activities/contracts.ts';
import { STEP_ROLES } from '../../activities/step-contracts.ts';
import { stepInputJsonSchema } from '../../activities/step-input.ts';
import { embeddingsSchema, SCHEMAS } from '../../datasets/schemas.ts';

const read = (name: string) => readFile(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const doc = await read('activities.md');

/** Cells of each row of the table under a heading. */
function rows(heading: string): string[][] {
  const section = doc.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const lines = section.split('\n').filter((line) => line.startsWith('| `'));
  return lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}
const names = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]);

test('docs/activities.md has every step with its version, inputs and outputs', () => {
  const described = rows('The steps').map(([step, version, inputs, outputs]) => ({
    step: names(step)[0],
    version: Number(version),
    inputs: names(inputs?.replace(/\[[^\]]*\]/g, '')),
    optional: [...(inputs ?? '').matchAll(/\[`(\w+)`\]/g)].map((match) => match[1]),
    outputs: names(outputs),
  }));
  const steps = Object.keys(STEP_ROLES) as StepName[];
  expect(described).toEqual(steps.map((step) => ({ step, version: CONTRACT_VERSIONS[step], ...STEP_ROLES[step] })));
});

test('docs/activities.md has every table with its columns', () => {
  const type = (field: Field): string => {
    const text = String(field.type);
    const [child] = field.type.children ?? [];
    if (!child) return text;
    return `${text.startsWith('Fixed') ? 'FixedSizeList[d]' : 'List'}<${child.type}>`;
  };
  const columns = (fields: Field[]) => fields.map((field) => `${field.name}: ${type(field)}`).join(', ');
  const tables = Object.entries({ ...SCHEMAS, embeddings: embeddingsSchema(4) });
  const described = rows('Tables').map((cells) => cells.map((cell) => names(cell)[0]));
  expect(described).toEqual(tables.map(([name, { fields }]) => [name, columns(fields)]));
});

test('docs/activities.schema.json is the schema that inputs are checked with (else: npm run reference)', async () => {
  expect(JSON.parse(await read('activities.schema.json'))).toStrictEqual(
    JSON.parse(JSON.stringify(stepInputJsonSchema())),
  );
});

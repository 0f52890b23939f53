import type { ForgetUserReport } from '../client/forget-user.ts';
import { formatBytes } from './format.ts';
import { oneLine } from './terminal.ts';

/** What forgetting a user means, or has meant (`done`), line by line. */
export function forgetLines(
  user: string,
  { tables, steps, unfinished, releases, runs, erased, bytesErased }: ForgetUserReport,
  copies: readonly string[],
  done: boolean,
): string[] {
  const name = oneLine(user, 80);
  const rest = erased.length > 0 ? [`${erased.length} files erased, ${formatBytes(bytesErased)}`] : [];
  if (steps.length === 0) return [`User ${name} is in no table of this store.`, ...rest];
  const [is, of] = done ? ['was forgotten', 'Forgotten'] : ['would be forgotten', 'To forget'];
  return [
    `User ${name} ${is}.`,
    `${of}: tables with rows of theirs`,
    ...rowsBySchema(tables).map(
      ([schema, rows, count]) => `  ${schema}: ${counted(rows, 'row')} in ${counted(count, 'table')}`,
    ),
    `${of}: every output of the steps that hold these rows or were made from them`,
    ...countBy(steps.map(({ step }) => step)).map(([step, count]) => `  ${step}: ${counted(count, 'step')}`),
    `  ${formatBytes(steps.reduce((sum, { bytes }) => sum + bytes, 0))}, save what other steps have made as well`,
    ...(unfinished.length > 0
      ? [`${of}: tiles and checkpoints of ${counted(unfinished.length, 'unfinished step')}`]
      : []),
    ...releases.map(({ key, current }) => `Release ${key}${current ? ' is current: promote another one' : ''}`),
    ...runs.map((runId) => `Run ${oneLine(runId, 64)} rests on them; resumed, it ends with STEP_FORGOTTEN`),
    ...(done ? rest : []),
    ...copies.map((folder) => `Copies outside of the store, which you remove yourself: ${oneLine(folder, 300)}`),
    'The data source still has the user: take them out of it, then start the recipe as a new run.',
  ];
}

/** Schema, rows, tables. */
function rowsBySchema(tables: ForgetUserReport['tables']): [string, number, number][] {
  const rows = new Map<string, [number, number]>();
  for (const table of tables) {
    const [sum, count] = rows.get(table.schema) ?? [0, 0];
    rows.set(table.schema, [sum + table.rows, count + 1]);
  }
  return [...rows].map(([schema, [sum, count]]) => [schema, sum, count]);
}

function countBy(names: readonly string[]): [string, number][] {
  return [...new Set(names)].map((name) => [name, names.filter((other) => other === name).length]);
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

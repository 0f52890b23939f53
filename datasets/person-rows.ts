import { open } from 'node:fs/promises';
import { RecordBatchReader } from 'apache-arrow';
import { SoftflowError } from '../errors.ts';
import { SCHEMAS } from './schemas.ts';

type TableName = keyof typeof SCHEMAS;

/** The column that says whose a row is; a window's id begins with its user's. */
function ownerColumn(schema: TableName): 'userId' | 'windowId' | undefined {
  const names = SCHEMAS[schema].fields.map(({ name }) => name);
  return (['userId', 'windowId'] as const).find((name) => names.includes(name));
}

/** Whether a table, by the name of its schema, holds rows of persons. */
export function hasPersons(schema: string | undefined): schema is TableName {
  return schema !== undefined && Object.hasOwn(SCHEMAS, schema) && ownerColumn(schema as TableName) !== undefined;
}

/**
 * Rows of a user in an Arrow file, read batch by batch.
 *
 * @throws SoftflowError `TABLE_SCHEMA` when the file does not have the column
 */
export async function countPersonRows(path: string, schema: TableName, userId: string): Promise<number> {
  const name = ownerColumn(schema) ?? 'userId';
  const file = await open(path);
  try {
    let rows = 0;
    for await (const batch of await RecordBatchReader.from(file)) {
      const column = batch.getChild(name);
      if (!column) throw lacksColumn(path, schema, name);
      for (const value of column) if (userOf(String(value), name) === userId) rows++;
    }
    return rows;
  } finally {
    await file.close();
  }
}

function userOf(value: string, column: 'userId' | 'windowId'): string {
  return column === 'userId' ? value : value.slice(0, value.lastIndexOf(':'));
}

function lacksColumn(path: string, schema: TableName, column: string): SoftflowError {
  const expected = SCHEMAS[schema].fields.map((field) => field.name).join(', ');
  return new SoftflowError('TABLE_SCHEMA', `${path}: expected the columns ${expected}, found no \`${column}\`.`, {
    details: { path, schema },
  });
}

import { open } from 'node:fs/promises';
import { RecordBatchReader } from 'apache-arrow';
import { SoftflowError } from '../errors.ts';
import { SCHEMAS } from './schemas.ts';

type PersonTableName = 'interactions' | 'windows' | 'distilled' | 'distances' | 'predictions';

/** The column of each table with rows of persons that says whose a row is; a window's id begins with its user's. */
const OWNER_COLUMN: Record<PersonTableName, 'userId' | 'windowId'> = {
  interactions: 'userId',
  windows: 'userId',
  distilled: 'windowId',
  distances: 'windowId',
  predictions: 'windowId',
};

/** Whether a table, by the name of its schema, holds rows of persons. */
export function hasPersons(schema: string | undefined): schema is PersonTableName {
  return schema !== undefined && Object.hasOwn(OWNER_COLUMN, schema);
}

/**
 * Rows of a user in an Arrow file, read batch by batch.
 *
 * @throws SoftflowError `TABLE_SCHEMA` when the file does not have the column
 */
export async function countPersonRows(path: string, schema: PersonTableName, userId: string): Promise<number> {
  const name = OWNER_COLUMN[schema];
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

function lacksColumn(path: string, schema: PersonTableName, column: string): SoftflowError {
  const expected = SCHEMAS[schema].fields.map((field) => field.name).join(', ');
  return new SoftflowError('TABLE_SCHEMA', `${path}: expected the columns ${expected}, found no \`${column}\`.`, {
    details: { path, schema },
  });
}

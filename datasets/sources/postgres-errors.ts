import { SoftflowError } from '../../errors.ts';

/** Classes of SQLSTATE that say the query is at fault: it will not do better the next time. */
const QUERY_CLASSES = /^(0A|21|22|25|26|2F|34|42|44)/;

/**
 * Runs work on a database and turns its errors into ours. The text of a server's own error is shown only when it speaks
 * of the query: those of connecting name hosts, users and databases, which are parts of the connection string.
 *
 * @throws SoftflowError `DATABASE_QUERY`, or retryable `DATABASE_UNREACHABLE`
 */
export async function redacted<T>(urlEnv: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SoftflowError) throw error;
    // No `cause`: it would carry what is left out here.
    throw databaseError(urlEnv, error as { code?: string; message?: string });
  }
}

function databaseError(urlEnv: string, { code = 'no code', message = '' }: { code?: string; message?: string }) {
  if (QUERY_CLASSES.test(code))
    return new SoftflowError(
      'DATABASE_QUERY',
      `The database refused a query of data.source.postgres: ${message} (SQLSTATE ${code}). Correct the query; $1 in it is the ` +
        'cut-off, as text that PostgreSQL reads as a timestamp.',
      { details: { code } },
    );
  return new SoftflowError(
    'DATABASE_UNREACHABLE',
    `Expected an answer of the database that the environment variable ${urlEnv} names, found an error (${code}). Check that it ` +
      'runs, that it can be reached from the worker, and the user and password.',
    { retryable: true, details: { variable: urlEnv, code } },
  );
}

import { describe, expect, test } from 'vitest';

interface Row {
  id: string;
  cases: number;
  passed: number;
  seconds: number;
  figure: string;
}
const { faultTable, mergeTables, rowsOf } = (await import(new URL('../../bin/faults.mjs', import.meta.url).href)) as {
  rowsOf(title: string): string[];
  faultTable(report: unknown, wanted?: string[]): Row[];
  mergeTables(tables: Row[][]): Row[];
};

const done = (title: string, status: string, fault?: { cases: number; figure: string }) => ({
  title,
  status,
  duration: 1234,
  failureMessages: status === 'failed' ? ['expected 1\nat a line'] : [],
  meta: fault ? { fault } : {},
});

describe('the fault table', () => {
  test('takes the rows from the end of a title', () => {
    expect(rowsOf('Bytes are equal (R2)')).toEqual(['R2']);
    expect(rowsOf('Histories (of runs) replay (R13, R15)')).toEqual(['R13', 'R15']);
    expect(rowsOf('Names (S9) are refused')).toEqual([]);
  });

  test('adds up the cases of a row, and counts none of a failed test as passed', () => {
    const assertionResults = [
      done('a (R10)', 'passed', { cases: 18, figure: 'every write' }),
      done('b (R10)', 'failed', { cases: 300, figure: 'orders' }),
      done('c (R2)', 'passed'),
      done('d (R3)', 'skipped'),
      done('e', 'passed'),
    ];
    expect(faultTable({ testResults: [{ status: 'failed', assertionResults }] })).toEqual([
      { id: 'R2', cases: 1, passed: 1, seconds: 1.2, figure: '' },
      { id: 'R10', cases: 318, passed: 18, seconds: 2.5, figure: 'every write; failed: b (R10): expected 1; orders' },
    ]);
  });

  test('counts a row as failed when its file broke before the tests could run', () => {
    const assertionResults = [done('a (R2)', 'skipped'), done('b (R3)', 'skipped')];
    const report = { testResults: [{ status: 'failed', message: 'no server', assertionResults }] };
    expect(faultTable(report, ['R2'])).toMatchObject([
      { id: 'R2', cases: 1, passed: 0, figure: 'failed: a (R2): no server' },
    ]);
  });

  test('of several seeds is one table, in which no failure is left out', () => {
    const row = (id: string, passed: number, figure: string) => ({ id, cases: 10, passed, seconds: 2, figure });
    const tables = [[row('R2', 10, 'a'), row('S9', 10, 'b')], [row('R2', 10, 'c')], [row('R2', 0, 'failed')]];
    expect(mergeTables(tables)).toEqual([
      { id: 'R2', cases: 30, passed: 20, seconds: 6, figure: 'a; failed' },
      { id: 'S9', cases: 10, passed: 10, seconds: 2, figure: 'b' },
    ]);
  });
});

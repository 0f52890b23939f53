import { describe, expect, test } from 'vitest';

interface Row {
  id: string;
  cases: number;
  passed: number;
  figure: string;
}
const { faultTable, mergeTables, rowsOf } = (await import(new URL('../../bin/faults.mjs', import.meta.url).href)) as {
  rowsOf(title: string): string[];
  faultTable(report: unknown): Row[];
  mergeTables(tables: Row[][]): Row[];
};

const done = (title: string, status: string, fault?: { cases: number; figure: string }) => ({
  title,
  status,
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
    expect(faultTable({ testResults: [{ assertionResults }] })).toEqual([
      { id: 'R2', cases: 1, passed: 1, figure: '' },
      { id: 'R10', cases: 318, passed: 18, figure: 'every write; failed: b (R10); orders' },
    ]);
  });

  test('of several seeds is one table', () => {
    const row = (id: string, cases: number) => ({ id, cases, passed: cases, figure: id });
    expect(mergeTables([[row('R2', 10), row('S9', 71)], [row('R2', 10)]])).toEqual([row('R2', 20), row('S9', 71)]);
  });
});

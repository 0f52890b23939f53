import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { plainReporter } from '../../setup/progress.ts';

interface Bootstrap {
  isInstalled: (root: string) => boolean;
  skippedLines: (report: unknown) => string[];
  summarize: (report: unknown, runnerStatus: number, failedChecks: number) => { passed: number; failed: number };
}

const load = () => import(new URL('../../bin/bootstrap.mjs', import.meta.url).href) as Promise<Bootstrap>;

describe('isInstalled', () => {
  let root: string;
  let isInstalled: Bootstrap['isInstalled'];

  beforeEach(async () => {
    ({ isInstalled } = await load());
    root = mkdtempSync(join(tmpdir(), 'softflow-install-'));
    mkdirSync(join(root, 'node_modules'));
    writePackages('package-lock.json', {
      '': {},
      'node_modules/a': { version: '1.0.0' },
      'node_modules/b': { version: '2.0.0', optional: true },
    });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function writePackages(file: string, packages: unknown): void {
    writeFileSync(join(root, file), JSON.stringify({ packages }));
  }

  it('wants an installation when node_modules has no record of one', () => {
    expect(isInstalled(root)).toBe(false);
  });

  it('accepts an installation without the optional packages of other platforms', () => {
    writePackages('node_modules/.package-lock.json', { 'node_modules/a': { version: '1.0.0' } });
    expect(isInstalled(root)).toBe(true);
  });

  it('wants an installation when a version differs or a package is missing', () => {
    writePackages('node_modules/.package-lock.json', { 'node_modules/a': { version: '1.0.1' } });
    expect(isInstalled(root)).toBe(false);
    writePackages('node_modules/.package-lock.json', {});
    expect(isInstalled(root)).toBe(false);
  });
});

describe('the last line of npm test', () => {
  const passing = { numPassedTests: 5, numFailedTests: 0, testResults: [{ status: 'passed', assertionResults: [] }] };

  it('counts tests of the report', async () => {
    const { summarize } = await load();
    expect(summarize(passing, 0, 0)).toEqual({ passed: 5, failed: 0 });
    const assertionResults = [{ status: 'failed' }, { status: 'failed' }];
    const failing = { numPassedTests: 3, numFailedTests: 2, testResults: [{ status: 'failed', assertionResults }] };
    expect(summarize(failing, 1, 0)).toEqual({ passed: 3, failed: 2 });
  });

  it('counts failed checks and test files that could not be loaded', async () => {
    const { summarize } = await load();
    const broken = { ...passing, testResults: [{ status: 'failed', assertionResults: [] }] };
    expect(summarize(broken, 1, 2)).toEqual({ passed: 5, failed: 3 });
  });

  it('comes after the names of what was skipped, counted', async () => {
    const { skippedLines } = await load();
    const test = (status: string, group: string, title: string) => ({ status, ancestorTitles: [group], title });
    const file = [
      test('skipped', 'in a browser', 'a'),
      test('passed', 'elsewhere', 'b'),
      test('skipped', 'in a browser', 'c'),
    ];
    const report = { testResults: [{ assertionResults: file }, { assertionResults: [test('pending', '', 'alone')] }] };
    expect(skippedLines(report)).toEqual(['2 skipped: in a browser', '1 skipped: alone']);
    expect(skippedLines(undefined)).toEqual([]);
  });

  it('is a failure when the runner fails without a failed test, or leaves no report', async () => {
    const { summarize } = await load();
    expect(summarize(passing, 1, 0)).toEqual({ passed: 5, failed: 1 });
    expect(summarize(undefined, 1, 0)).toEqual({ passed: 0, failed: 1 });
  });
});

describe('plainReporter', () => {
  it('writes one line for each phase, and none for what was there already', () => {
    const lines: string[] = [];
    const report = plainReporter((line) => lines.push(line));
    report({ item: 'data', phase: 'ready', message: 'there' });
    report({ item: 'model', phase: 'notice', message: 'licence' });
    for (const bytes of [0, 1e6, 2e6]) report({ item: 'model', phase: 'download', bytes, totalBytes: 2e6 });
    report({ item: 'model', phase: 'ready', message: 'tiny' });
    expect(lines).toEqual(['model: notice: licence', 'model: download (2 MB)', 'model: ready: tiny']);
  });
});

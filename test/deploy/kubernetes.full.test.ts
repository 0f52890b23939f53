import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { MANIFESTS, manifests } from './deploy-files.ts';

/** Carries the schemas of Kubernetes' own API description. */
const VALIDATOR = 'kubernetes-validate==1.37.0';
const KUBERNETES = ['1.31', '1.37'];
const folder = mkdtempSync(join(tmpdir(), 'softflow-kubernetes-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const installed = spawnSync('python3', ['-m', 'pip', 'install', '--quiet', '--target', folder, VALIDATOR], {
  encoding: 'utf8',
});
const missing = installed.status === 0 ? undefined : `${VALIDATOR} cannot be installed`;

async function verdicts(file: string, version: string): Promise<string> {
  const args = ['-m', 'kubernetes_validate', '--strict', '--kubernetes-version', version, file];
  const { stdout, stderr } = await promisify(execFile)('python3', args, {
    env: { ...process.env, PYTHONPATH: folder },
  }).catch((error: { stdout: string; stderr: string }) => error);
  return stdout + stderr;
}

describe.skipIf(missing !== undefined)(
  `the manifests against the Kubernetes schema${missing ? ` (skipped, ${missing})` : ''}`,
  () => {
    // KEDA's kind is not Kubernetes' own.
    const known = manifests().filter(({ kind }) => kind !== 'ScaledObject');

    test.each(KUBERNETES)(
      'Kubernetes %s takes every manifest',
      async (version) => {
        const files = [...new Set(known.map(({ file }) => file))];
        const found = (await Promise.all(files.map((file) => verdicts(join(MANIFESTS, file), version)))).join('');
        expect(found.match(/ passed for resource /g)).toHaveLength(known.length);
      },
      300_000,
    );

    test('a field that there is not is noticed', async () => {
      const text = readFileSync(join(MANIFESTS, 'worker-tensor.yaml'), 'utf8');
      const wrong = join(folder, 'wrong.yaml');
      writeFileSync(wrong, text.replace('terminationGracePeriodSeconds', 'terminationGraceSeconds'));
      expect(await verdicts(wrong, KUBERNETES[0] as string)).toMatch(/terminationGraceSeconds/);
    }, 300_000);
  },
);

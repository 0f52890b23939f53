import { describe, expect, it } from 'vitest';
import { INSTRUCTION_SETS, openBackend } from '../../model/backend.ts';
import { kernelDigests, runTests } from './kernel-processes.ts';

const FILES = ['./kernels.test.ts', './packed-matrices.test.ts'];
/** The widest inputs, which take most of the time, add nothing here. */
const QUICK = '^(?!.*100x576).*(fused and plain|rounded inputs|same bits)';

interface Report {
  numPassedTests: number;
  testResults: { assertionResults: { fullName: string; failureMessages: string[] }[] }[];
}

const failures = ({ testResults }: Report) =>
  testResults.flatMap(({ assertionResults }) => assertionResults).filter(({ failureMessages }) => failureMessages[0]);

/** The best set of this machine is what all other tests use. */
describe('With no better instructions than', () => {
  it.each(INSTRUCTION_SETS.slice(0, -1))('%s, all kernels are those of the plain ones', async (set) => {
    const report: Report = JSON.parse(await runTests(FILES, QUICK, { SOFTFLOW_INSTRUCTIONS: set }));
    expect(failures(report)).toEqual([]);
    expect(report.numPassedTests).toBeGreaterThan(50);
  });

  it('portable, other functions compute: without fused multiplication and addition products round otherwise', async () => {
    const product = 'products of the rows of a micro-batch';
    const [portable, best] = await Promise.all([
      kernelDigests({ SOFTFLOW_INSTRUCTIONS: 'portable' }),
      kernelDigests({}),
    ]);
    expect(portable.digests[product]).toMatch(/^[0-9a-f]{64}$/);
    expect(portable.digests[product]).not.toBe(best.digests[product]);
  });

  it('a set that does not exist is refused', async () => {
    process.env['SOFTFLOW_INSTRUCTIONS'] = 'avx';
    try {
      await expect(openBackend({ name: 'tensorflow', addonPath: 'unused' })).rejects.toMatchObject({
        code: 'TENSORFLOW_NOT_LOADED',
        message: expect.stringMatching(/expected one of portable, avx2.* got "avx"/),
      });
    } finally {
      delete process.env['SOFTFLOW_INSTRUCTIONS'];
    }
  });
});

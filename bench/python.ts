import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { ensureCached } from '../setup/cache.ts';
import { lastLines, runCommand } from '../setup/command.ts';
import { packageRoot } from '../setup/paths.ts';

const FOLDER = join(packageRoot(), 'bench', 'peer');
export const PEER_SCRIPT = join(FOLDER, 'peer.py');
const REQUIREMENTS = join(FOLDER, 'requirements.txt');

/**
 * Path of a Python that has the peer's packages; made in the cache from the package index at the first call.
 * @param given an interpreter that has them already
 * @throws SoftflowError `BENCH_NO_PYTHON`
 */
export async function ensurePython(given: string | undefined, say: (line: string) => void): Promise<string> {
  if (given !== undefined) return given;
  const digest = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 16);
  const entry = { name: `python-bench/${digest}`, keyFiles: ['requirements.txt'], needsBytes: 12_000_000_000 };
  const folder = await ensureCached(entry, async (target) => {
    say('Making a Python environment with torch, transformers and peft (several GB, once) ...');
    await must('python3', ['-m', 'venv', target]);
    const options = ['install', '--quiet', '--disable-pip-version-check', '--no-cache-dir', '-r', REQUIREMENTS];
    await must(join(target, 'bin', 'python'), ['-m', 'pip', ...options]);
    copyFileSync(REQUIREMENTS, join(target, 'requirements.txt'));
  });
  const python = join(folder, 'bin', 'python');
  if (existsSync(python)) return python;
  throw new SoftflowError('BENCH_NO_PYTHON', `Expected ${python}, found none. Remove ${folder} and try again.`);
}

async function must(program: string, args: string[]): Promise<void> {
  const { status, stdout, stderr } = await runCommand(program, args);
  if (status === 0) return;
  throw new SoftflowError(
    'BENCH_NO_PYTHON',
    `${program} ${args.join(' ')} failed. The peer needs Python 3.10 or later with venv and pip, and a package index; ` +
      `or name an interpreter that has torch, transformers and peft with --python.\n${lastLines(stdout + stderr)}`,
  );
}

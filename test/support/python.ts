import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureCached } from '../../setup/cache.ts';
import { lastLines, runCommand } from '../../setup/command.ts';

/**
 * Path of a Python that has the packages of a requirements file, made in the cache from the package index at the first call.
 *
 * @throws Error that says why there is none
 */
export async function ensurePython(requirements: string): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 16);
  const entry = { name: `python-worker/${digest}`, keyFiles: ['requirements.txt'], needsBytes: 1_000_000_000 };
  const folder = await ensureCached(entry, async (target) => {
    await must('python3', ['-m', 'venv', target]);
    const options = ['--quiet', '--disable-pip-version-check', '--no-cache-dir', '--only-binary', ':all:'];
    await must(join(target, 'bin', 'python'), ['-m', 'pip', 'install', ...options, '-r', requirements]);
    copyFileSync(requirements, join(target, 'requirements.txt'));
  });
  return join(folder, 'bin', 'python');
}

async function must(program: string, args: string[]): Promise<void> {
  const { status, stdout, stderr } = await runCommand(program, args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${lastLines(stdout + stderr, 2)}`);
}

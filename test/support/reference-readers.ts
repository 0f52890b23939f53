import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureCached } from '../../setup/cache.ts';

const FOLDER = fileURLToPath(new URL('../reference', import.meta.url));
const REQUIREMENTS = join(FOLDER, 'readers-requirements.txt');

export type ReaderKind = 'safetensors' | 'gguf' | 'arrow';

/** What a reader made of a document: a digest of what it saw, or the reason why it refused it. */
export interface Verdict {
  accepted: boolean;
  text: string;
}

/** A Python with the formats' own readers: `SOFTFLOW_READERS_PYTHON`, else one made in the cache from the package index. */
export async function readersPython(): Promise<string> {
  const given = process.env['SOFTFLOW_READERS_PYTHON'];
  if (given) return given;
  const digest = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 16);
  const folder = await ensureCached(
    { name: `python-readers/${digest}`, keyFiles: ['requirements.txt'] },
    async (target) => {
      execFileSync('python3', ['-m', 'venv', target]);
      const options = ['install', '--quiet', '--disable-pip-version-check', '--no-cache-dir', '-r', REQUIREMENTS];
      execFileSync(join(target, 'bin', 'python'), ['-m', 'pip', ...options]);
      copyFileSync(REQUIREMENTS, join(target, 'requirements.txt'));
    },
  );
  return join(folder, 'bin', 'python');
}

/** Verdicts of a format's own reader; a document that kills it counts as refused. */
export function verdictsOf(python: string, kind: ReaderKind, documents: readonly Uint8Array[]): Verdict[] {
  const folder = mkdtempSync(join(tmpdir(), 'softflow-readers-'));
  const file = join(folder, 'documents');
  const verdicts: Verdict[] = [];
  try {
    while (verdicts.length < documents.length) {
      writeFileSync(file, Buffer.concat(documents.slice(verdicts.length).flatMap((bytes) => [lengthOf(bytes), bytes])));
      const command = [join(FOLDER, 'readers.py'), kind, file];
      const { stdout, stderr } = spawnSync(python, command, { encoding: 'utf8', maxBuffer: 2 ** 30 });
      const lines = stdout.split('\n').filter((line) => /^(ok|no) /.test(line));
      if (verdicts.length === 0 && lines.length === 0) throw new Error(`${python} ${command.join(' ')}: ${stderr}`);
      verdicts.push(...lines.map((line) => ({ accepted: line.startsWith('ok'), text: line.slice(3) })));
      if (verdicts.length < documents.length) verdicts.push({ accepted: false, text: 'it ended the process' });
    }
    return verdicts;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function lengthOf(bytes: Uint8Array): Buffer {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(bytes.length);
  return prefix;
}

/** The digest that `readers.py` makes of the same lines. */
export function digestOfLines(lines: readonly string[]): string {
  const sorted = lines.map((line) => Buffer.from(line)).sort(Buffer.compare);
  return createHash('sha256').update(sorted.join('\n')).digest('hex').slice(0, 16);
}

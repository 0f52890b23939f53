import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { encryptionKeys } from '../../encryption/keys.ts';
import { SoftflowError } from '../../errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'softflow-keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

const KEY = Buffer.alloc(32, 7);
const NAME = 'SOFTFLOW_ENCRYPTION_KEYS';

function keyFile(name: string, text: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

function refusal(env: Record<string, string>): string {
  try {
    encryptionKeys(env);
  } catch (error) {
    expect(error).toBeInstanceOf(SoftflowError);
    expect((error as SoftflowError).code).toBe('ENCRYPTION_KEYS_INVALID');
    return (error as SoftflowError).message;
  }
  throw new Error('was taken');
}

describe('encryption keys', () => {
  it('come from files of mode 600 and from variables, in base64 or hexadecimal, in the order given', () => {
    const path = keyFile('new.key', `${KEY.toString('base64')}\n`);
    const env = { [NAME]: ` 2026-11=file:${path}, old=env:OLD `, OLD: Buffer.alloc(32, 9).toString('hex') };
    const keys = encryptionKeys(env);
    expect(keys.map(({ id }) => id)).toEqual(['2026-11', 'old']);
    expect(Buffer.from(keys[0]!.bytes)).toEqual(KEY);
    expect(keys[1]!.bytes).toHaveLength(32);
  });

  it('are none without the variable', () => {
    expect(encryptionKeys({})).toEqual([]);
    expect(encryptionKeys({ [NAME]: ' ' })).toEqual([]);
  });

  it('are refused with the reason when a reference does not lead to a key', () => {
    const A = KEY.toString('base64');
    expect(refusal({ [NAME]: 'a=env:A' })).toContain('key "a": the variable that env: names is not set');
    expect(refusal({ [NAME]: 'a=env:A', A: 'short' })).toContain('expected 32 bytes');
    expect(refusal({ [NAME]: 'a=env:A,a=env:A', A })).toContain('twice');
    expect(refusal({ [NAME]: 'a=env:A,', A })).toContain('entry 2');
    expect(refusal({ [NAME]: 'a b=env:A', A })).toContain('entry 1');
    expect(refusal({ [NAME]: 'a=file:/nonexistent/key' })).toContain('ENOENT');
    expect(refusal({ [NAME]: `a=file:${folder}` })).toContain('no file');
  });

  it('are refused in a file that others may read', () => {
    const path = keyFile('open.key', KEY.toString('base64'), 0o644);
    expect(refusal({ [NAME]: `a=file:${path}` })).toMatch(/mode 644.*mode 600/);
  });

  it('never stand in an error, wherever they were put (S5)', () => {
    const secret = Buffer.alloc(32, 'sekret').toString('base64');
    const cases: Record<string, string>[] = [
      { [NAME]: secret },
      { [NAME]: `a=${secret}` },
      { [NAME]: `a=env:${secret}` },
      { [NAME]: 'a=env:A', A: `${secret}x` },
      { [NAME]: `${secret}=env:A` },
      { [NAME]: `a=file:${keyFile('long.key', `${secret}${secret}`)}` },
    ];
    for (const env of cases) expect(refusal(env)).not.toContain(secret.slice(0, 20));
  });
});

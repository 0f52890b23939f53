import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RunLog } from '../../cli/run-log.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'softflow-logs-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = (second: number, message: string, ids: object = { run: 'a-1' }) =>
  `${JSON.stringify({ time: `2026-11-25T00:00:0${second}.000Z`, level: 'INFO', source: 'worker', pid: 1, message, ...ids })}\n`;
const messages = (log: RunLog) => log.next().map(({ message }) => message);

test('lines of one run come from all workers by time, and of nothing else', () => {
  writeFileSync(
    join(folder, 'worker-gpu.log'),
    `${line(2, 'train')}Segmentation fault\n{"time": 3\n${line(3, 'x', {})}`,
  );
  writeFileSync(join(folder, 'worker-workflow-cpu.log'), line(1, 'prepare') + line(4, 'other', { run: 'a-12' }));
  writeFileSync(join(folder, 'server.log'), line(0, 'server'));
  expect(messages(new RunLog(folder, { run: 'a-1' }))).toEqual(['prepare', 'train']);
  expect(messages(new RunLog(join(folder, 'missing'), { run: 'a-1' }))).toEqual([]);
});

test('a step is chosen by its key or by its kind', () => {
  const ids = { run: 'a-1', step: 'trainEpoch', key: 'k1' };
  writeFileSync(join(folder, 'worker-gpu.log'), line(1, 'one', ids) + line(2, 'two', { ...ids, key: 'k2' }));
  expect(messages(new RunLog(folder, { run: 'a-1', step: 'k2' }))).toEqual(['two']);
  expect(messages(new RunLog(folder, { run: 'a-1', step: 'trainEpoch' }))).toEqual(['one', 'two']);
});

test('following reads what is added, and a line only once it is whole', () => {
  const file = join(folder, 'worker-gpu.log');
  writeFileSync(file, line(1, 'one'));
  const log = new RunLog(folder, { run: 'a-1' });
  expect(messages(log)).toEqual(['one']);
  const next = line(2, 'two ä');
  const bytes = Buffer.from(next);
  const middle = bytes.indexOf(0xc3) + 1;
  appendFileSync(file, bytes.subarray(0, middle));
  expect(messages(log)).toEqual([]);
  appendFileSync(file, bytes.subarray(middle));
  expect(messages(log)).toEqual(['two ä']);
  expect(messages(log)).toEqual([]);
});

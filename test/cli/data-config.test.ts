import { expect, test } from 'vitest';
import type * as z from 'zod';
import { keyOfStep } from '../../activities/step-result.ts';
import { faultsOf } from '../../cli/config-faults.ts';
import { requireSplitByTime } from '../../client/schedule-spec.ts';
import { type RunConfigInput, RunConfigSchema } from '../../workflows/run-config.ts';
import { sourceNames, stepParams } from '../../workflows/step-params.ts';

const input = (data: object): RunConfigInput => ({
  model: { source: { registry: 'smollm2-135m-instruct' } },
  data: { source: { planted: {} }, ...data },
});
const faults = (data: object) => {
  const config = input(data);
  const { error } = RunConfigSchema.safeParse(config);
  return faultsOf((error as z.ZodError).issues, config).map(({ path, message }) => `${path.join('.')}: ${message}`);
};

test.each([
  [{ asOf: '2026-11-25' }, /^data\.asOf: expected an instant with its offset \(RFC 3339\)/],
  [{ asOf: '2026-11-25T03:00:00' }, /^data\.asOf: expected an instant/],
  [{ trainUntil: '2026-02-30T00:00:00Z' }, /^data\.trainUntil: expected an instant/],
  [{ testAfter: '2026-01-01T00:00:00Z' }, /^data\.testAfter: Expected `trainUntil` beside/],
  [
    { trainUntil: '2026-01-02T00:00:00Z', asOf: '2026-01-01T23:00:00Z' },
    /^data\.trainUntil: Expected `trainUntil` at or before asOf/,
  ],
  [
    { trainUntil: '2026-01-02T00:00:00Z', testAfter: '2026-01-02T00:59:00+01:00' },
    /^data\.trainUntil: Expected `trainUntil` at or before testAfter/,
  ],
  [{ source: { parquet: { folder: 'x' }, csv: { interactions: 'a', items: 'b' } } }, /got csv and parquet/],
])('a wrong cut-off is named: %j', (data, expected) => {
  expect(faults(data)).toEqual([expect.stringMatching(expected)]);
});

const csv = { interactions: 'a', items: 'b' };
test.each([
  [{ source: { csv: { ...csv, valid: 'c' } } }, /^data\.source\.csv\.valid: Expected `test` beside `valid`/],
  [
    { source: { csv: { ...csv, test: 'c', columns: { split: 'fold' } } } },
    /^data\.source\.csv\.columns\.split: Expected a split by files \(`test`\) or by a column, got both/,
  ],
  [
    { source: { csv: { ...csv, columns: { split: 'fold' } } }, trainUntil: '2026-01-02T00:00:00Z' },
    /^data\.trainUntil: Expected no `trainUntil` where the source has a split of its own \(source\.csv\.columns\.split\)/,
  ],
  [{ source: { recbole: { folder: 'x', name: 'y', benchmark: ['all'] } } }, /benchmark: expected a list of at least 2/],
  [
    { source: { recbole: { folder: 'x', name: 'y', benchmark: ['../train', 'test'] } } },
    /benchmark\.0: expected text matching/,
  ],
])('a split of the data that cannot be meant is named: %j', (data, expected) => {
  expect(faults(data)).toEqual([expect.stringMatching(expected)]);
});

test('a schedule, which splits by time, is refused where the data brings a split', () => {
  const config = RunConfigSchema.parse(
    input({ source: { recbole: { folder: 'x', name: 'y', benchmark: ['a', 'b'] } } }),
  );
  expect(() => requireSplitByTime(config)).toThrow(
    expect.objectContaining({
      code: 'SCHEDULE_INVALID',
      message: expect.stringContaining('data.source.recbole.benchmark'),
    }),
  );
  expect(() => requireSplitByTime(RunConfigSchema.parse(input({})))).not.toThrow();
});

test('a connection string in place of its variable is refused without being repeated', () => {
  const source = { postgres: { urlEnv: 'postgres://shop:canary@db/shop', query: 'SELECT 1' } };
  const [fault] = faults({ source });
  expect(fault).toMatch(/^data\.source\.postgres\.urlEnv: expected the name of an environment variable/);
  expect(fault).not.toContain('canary');
});

test('moments in time are equal however they are written, and a step key knows only what they mean', () => {
  const key = (data: object) => {
    const config = RunConfigSchema.parse(input(data));
    const sources = {
      model: { source: config.model.source, digest: 'a'.repeat(64) },
      data: { digest: 'b'.repeat(64) },
    };
    return keyOfStep('prepareData', {}, stepParams(config, sources).prepareData());
  };
  const utc = key({ asOf: '2026-11-25T03:00:00Z' });
  expect(key({ asOf: '2026-11-25T04:00:00.000+01:00' })).toBe(utc);
  expect(key({ asOf: '2026-11-25T03:00:01Z' })).not.toBe(utc);
  expect(key({})).not.toBe(utc);
});

test('the copy of a growing source is no part of a step key, its digest is', () => {
  const config = RunConfigSchema.parse(input({ asOf: '2026-11-25T03:00:00Z' }));
  const model = { source: config.model.source, digest: 'a'.repeat(64) };
  const ref = (digit: string) => ({ uri: `blobs/${digit.repeat(64)}`, sha256: digit.repeat(64), bytes: 1 });
  const leftOut = { afterAsOf: 1, knownLater: 0, withoutTime: 0, tornBytes: 0 };
  const params = (snapshot?: object) =>
    stepParams(config, { model, data: { digest: 'b'.repeat(64), ...snapshot } }).prepareData();
  const key = keyOfStep('prepareData', {}, params());
  const withCopy = params({ snapshot: { interactions: ref('c'), items: ref('d'), leftOut } });
  expect(withCopy.snapshot).toBeDefined();
  expect(keyOfStep('prepareData', {}, withCopy)).toBe(key);
  expect(keyOfStep('prepareData', {}, { ...withCopy, digest: 'e'.repeat(64) })).not.toBe(key);
});

test('what a source is asked for holds the cut-off and how to read, and no more', () => {
  const config = RunConfigSchema.parse(input({ asOf: '2026-11-25T03:00:00Z', knownAt: 'arrived', kCore: 3 }));
  expect(sourceNames(config).cutOff).toEqual({
    asOf: '2026-11-25T03:00:00Z',
    knownAt: 'arrived',
    timeUnit: 'auto',
    maxBadRows: 0.01,
  });
  expect(sourceNames(RunConfigSchema.parse(input({}))).cutOff).toEqual({ timeUnit: 'auto', maxBadRows: 0.01 });
});

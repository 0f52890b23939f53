import { describe, expect, it } from 'vitest';
import { compareDatasets, type DatasetProfile, type DriftLimits, profileOf } from '../../datasets/drift.ts';
import { csvPair, interactionsCsv, prepare, temporaryFolder } from './fixtures.ts';

const LIMITS: DriftLimits = {
  maxUsersDrop: 0.2,
  maxItemsDrop: 0.2,
  maxInteractionsDrop: 0.2,
  maxUnseenItems: 0.3,
  maxRepeatedTitles: 0.1,
};
const ids = (from: number, to: number) => new Set(Array.from({ length: to - from }, (_, i) => `i${from + i}`));
const champion: DatasetProfile = {
  users: 1000,
  items: 100,
  interactions: 20_000,
  repeatedTitles: 0,
  meanHistoryLength: 20,
  itemIds: ids(0, 100),
};
const found = (change: Partial<DatasetProfile>) => compareDatasets(champion, { ...champion, ...change }, LIMITS);

describe('drift', () => {
  it('is none between equal data, growth, and a value that lies at its limit', () => {
    expect(found({}).findings).toEqual([]);
    expect(found({ users: 5000, interactions: 10 ** 6 }).findings).toEqual([]);
    const atLimits = { users: 800, items: 80, interactions: 16_000, itemIds: ids(24, 104), repeatedTitles: 0.1 };
    expect(found(atLimits).findings).toEqual([]);
    expect(found(atLimits).observed).toEqual({
      maxUsersDrop: 0.2,
      maxItemsDrop: 0.2,
      maxInteractionsDrop: 0.2,
      maxUnseenItems: 0.05,
      maxRepeatedTitles: 0.1,
      meanHistoryLengthRatio: 1,
    });
  });

  it('names each thing beyond its limit with what was observed and what is allowed', () => {
    const { findings } = found({
      users: 600,
      items: 10,
      itemIds: ids(96, 106),
      interactions: 15_999,
      repeatedTitles: 0.25,
    });
    expect(findings.map(({ limit }) => limit)).toEqual(Object.keys(LIMITS));
    expect(findings[0]).toEqual({
      limit: 'maxUsersDrop',
      observed: 0.4,
      allowed: 0.2,
      message: 'fewer users (1,000 -> 600): 40.0 %, allowed 20.0 %',
    });
    expect(findings[3]).toMatchObject({
      observed: 0.6,
      message: expect.stringContaining('(6 of 10): 60.0 %, allowed 30.0 %'),
    });
  });

  it('is read from what a preparation says of its data', async () => {
    const folder = await temporaryFolder();
    const rows = Array.from({ length: 24 }, (_, n): [string, string, number] => [`u${n % 3}`, `i${n % 4}`, n]);
    const source = await csvPair(folder, interactionsCsv(rows), 'item_id,title\ni0,Same\ni1,Same\ni2,Two\ni3,Three\n');
    const { card, itemRows } = await prepare(source, folder);
    expect(profileOf(card, itemRows)).toEqual({
      users: 3,
      items: 4,
      interactions: 24,
      repeatedTitles: 0.5,
      meanHistoryLength: 8,
      itemIds: new Set(['i0', 'i1', 'i2', 'i3']),
    });
  });
});

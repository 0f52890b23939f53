import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { RunConfigSchema } from '../../workflows/run-config.ts';

const folder = new URL('../../recipes/', import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
const load = (name: string) => RunConfigSchema.parse(parse(readFileSync(new URL(name, folder), 'utf8')));

describe('recipes', () => {
  it('are those that the documents name', () => {
    expect(names.sort()).toEqual(['csv.yaml', 'demo.yaml', 'ml-100k.yaml', 'nightly.yaml', 'planted.yaml']);
  });

  it.each(names)('%s is valid, names its schema and opens with the command that runs it', (name) => {
    const [first, ...rest] = readFileSync(new URL(name, folder), 'utf8').split('\n');
    expect(first).toBe('# yaml-language-server: $schema=../docs/config.schema.json');
    const opening = rest.slice(
      0,
      rest.findIndex((line) => !line.startsWith('#')),
    );
    expect(opening.join('\n')).toMatch(/^# {3}np(?:x softflow run|m start)/m);
    expect(opening.join('\n')).toContain('Needs:');
    expect(() => load(name)).not.toThrow();
  });

  it('ml-100k has the settings of the paper', () => {
    const { data, train, lora, generation, soft } = load('ml-100k.yaml');
    expect(data.samples).toEqual({ train: 4096, valid: 512, test: 1000 });
    expect(train).toMatchObject({
      batchSize: 256,
      microBatchSize: 8,
      learningRate: 1e-4,
      warmupSteps: 20,
      maxEpochs: 7,
    });
    expect(lora).toEqual({ rank: 8, loraAlpha: 16, dropout: 0.05, targets: ['q_proj', 'v_proj'] });
    expect(generation).toMatchObject({ beamWidth: 4, maxNewTokens: 64 });
    expect(soft.distancePrompts).toBe(256);
  });

  it('demo is large enough to mean something', () => {
    const { data, train } = load('demo.yaml');
    expect(data.samples.train).toBeGreaterThanOrEqual(96);
    expect(data.samples.test).toBeGreaterThanOrEqual(64);
    expect(data.samples.train / train.batchSize).toBeGreaterThanOrEqual(2);
    expect(train.maxEpochs).toBeGreaterThanOrEqual(2);
  });

  it('planted trains on at most 400 windows', () => {
    expect(load('planted.yaml').data.samples.train).toBeLessThanOrEqual(400);
  });
});

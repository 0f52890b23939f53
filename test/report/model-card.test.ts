import { describe, expect, it } from 'vitest';
import { renderModelCard } from '../../report/model-card.ts';
import { buildRunSummary } from '../../report/run-summary.ts';
import { smallRun } from './fixtures.ts';

const card = renderModelCard(buildRunSummary(smallRun()));

describe('model card', () => {
  it('opens with the front matter that PEFT folders carry', () => {
    expect(card).toMatch(/^---\nlibrary_name: peft\nbase_model: "HuggingFaceTB\/SmolLM2-135M-Instruct"\n/);
  });

  it('gives metrics with intervals, chance, limits and licences', () => {
    expect(card).toMatch(/\| SOFT \| \.0313 \[\.0000, \.\d{4}\] \| \.0255 \[\.0000, \.\d{4}\] \| 25 % \|/);
    expect(card).toContain('| chance | .0087 | .0039 |  |');
    expect(card).toContain('SOFT against SFT, HR@10: +.016');
    expect(card).toContain('64 test windows; a difference of .010');
    expect(card).toContain('Base model: Apache-2.0');
    expect(card).toContain('research use only');
  });

  it('is the same whatever the circumstances of the run', () => {
    const input = smallRun();
    const slower = input.steps.map((step) => ({ ...step, reused: true, telemetry: { seconds: 1, resumes: 9 } }));
    expect(renderModelCard(buildRunSummary({ ...input, steps: slower }))).toBe(card);
  });

  it('names other models and data without guessing their licence, and no path of a machine', () => {
    const input = smallRun();
    input.config.model.source = { folder: '/home/me/model' };
    input.config.data.source = { csv: { interactions: '/home/me/a.csv' } };
    const other = renderModelCard(buildRunSummary(input));
    expect(other).toContain('as its publisher states');
    expect(other).not.toContain('/home/me');
    expect(other).not.toContain('base_model');
  });

  it('says where the data brought its split along', () => {
    const input = smallRun();
    expect(card).toContain('test, split by time |');
    input.data.counts['rowsWithoutHistory'] = 0;
    expect(renderModelCard(buildRunSummary(input))).toContain('test, split as the data says |');
  });

  it('lets no generated text act as markup', () => {
    expect(card).not.toContain('<script>');
  });
});

import { describe, expect, it } from 'vitest';
import { buildRunSummary } from '../../report/run-summary.ts';
import { renderTerminalTable } from '../../report/terminal-table.ts';
import { predictions, smallRun } from './fixtures.ts';

const summary = buildRunSummary(smallRun());
const table = renderTerminalTable(summary);
const row = (text: string, label: string) => text.split('\n').filter((line) => line.startsWith(label));

describe('terminal table', () => {
  it('shows HR and NDCG of each model and of chance at each K', () => {
    expect(row(table, 'HR ')[0]).toMatch(/@1 +@5 +@10 +\[95 % interval\] +@20 +@50/);
    expect(row(table, 'SOFT')[0]).toMatch(/\.0156 +\.0313 +\.0313 +\[\.0000, \.\d{4}\] +\.0313 +\.0313/);
    expect(row(table, 'chance')[0]).toMatch(/\.0009 +\.0043 +\.0087 +\.0174 +\.0434/);
    for (const label of ['base model (zero-shot)', 'popularity', 'SFT', 'SOFT', 'chance'])
      expect(row(table, label).length).toBeGreaterThanOrEqual(2);
  });

  it('shows existing titles, distinct texts and the most frequent text', () => {
    expect(row(table, 'base model')[2]).toMatch(/25 % +1\/64 +"Here are some movies" 100 %/);
  });

  it('says what is within noise, what so few windows can show, and what looks collapsed', () => {
    const text = table.replace(/\s+/g, ' ');
    expect(text).toContain('SOFT against SFT: HR@10 +.016');
    expect(text).toContain('better on 2, worse on 1 windows): within noise.');
    expect(text).toMatch(/64 test windows; a difference of \.010 in HR@10 needs about [\d,]+ to be seen/);
    expect(text).toContain('resumed once');
    expect(text).toMatch(/Warning: SOFT answers "<script>.* for 34 % of the windows/);
    expect(text).toContain('Not above chance in HR@10 beyond noise: base model (zero-shot), popularity, SFT, SOFT');
  });

  it('names the next command', () => {
    expect(table).toContain('Next\n  npx softflow run recipes/planted.yaml\n');
  });

  it('calls a model that finds the target better, not within noise', () => {
    const good = smallRun();
    good.predictions.soft = predictions((line) => (line % 2 === 0 ? 1 : 300));
    const text = renderTerminalTable(buildRunSummary(good)).replace(/\s+/g, ' ');
    expect(text).toMatch(/SOFT against SFT: HR@10 \+\.484 .*: clearly better\./);
    expect(text).toContain('Above chance in HR@10: SOFT.');
  });

  it.each([40, 60, 80, 100, 160])('fits %i columns', (width) => {
    const lines = renderTerminalTable(summary, { width }).split('\n');
    const commands = new Set(summary.nextCommands.map((command) => `  ${command}`));
    for (const line of lines) if (!commands.has(line)) expect(line.length).toBeLessThanOrEqual(Math.max(width, 52));
    expect(lines.join('\n')).toContain('@10');
  });

  it('lets no control character of a title through and uses no colour unless asked', () => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none is left is the point
    expect(table).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
    expect(renderTerminalTable(summary, { color: true })).toContain('\u001b[1mNext\u001b[22m');
  });
});

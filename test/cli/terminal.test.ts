import { describe, expect, it } from 'vitest';
import { formatBytes, formatNumber, formatSeconds, progressBar } from '../../cli/format.ts';
import { oneLine, openTerminal, sanitize } from '../../cli/terminal.ts';
import { editDistance, suggest } from '../../client/suggest.ts';

const stream = (isTTY: boolean) => ({ isTTY, columns: 80, write: () => true });
const open = (isTTY: boolean, env: Record<string, string> = {}) =>
  openTerminal({ stdout: stream(isTTY), stderr: stream(isTTY), env });

describe('colour and redrawing', () => {
  it('are on for a terminal', () => {
    expect(open(true).interactive).toBe(true);
    expect(open(true).paint.red('x')).toBe('\u001b[31mx\u001b[39m');
  });

  it('are off when the output is no terminal, or a dumb one', () => {
    expect(open(false).interactive).toBe(false);
    expect(open(false).paint.red('x')).toBe('x');
    expect(open(true, { TERM: 'dumb' }).interactive).toBe(false);
  });

  it('lose their colour with NO_COLOR, unless it is empty', () => {
    expect(open(true, { NO_COLOR: '1' }).paint.red('x')).toBe('x');
    expect(open(true, { NO_COLOR: '' }).paint.red('x')).not.toBe('x');
  });
});

describe('text from outside', () => {
  it('loses its control sequences and keeps its letters', () => {
    expect(sanitize('\u001b[1;31mAmélie\u001b[0m 日本\ttab\nline')).toBe('Amélie 日本\ttab\nline');
    expect(sanitize('a\u001b]8;;http://x\u001b\\link\u001b]8;;\u0007b')).toBe('alinkb');
    expect(sanitize('a\u001b')).toBe('a');
  });

  it('fits on one line when asked to', () => {
    expect(oneLine('a\n  b\tc', 10)).toBe('a b c');
    expect(oneLine('abcdef', 4)).toBe('abc…');
  });
});

describe('figures', () => {
  it.each([
    [0.4, '0 s'],
    [59.6, '1 min 00 s'],
    [3599, '59 min 59 s'],
    [7500, '2 h 05 min'],
    [187_200, '2 d 4 h'],
  ])('%d seconds read %s', (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text);
  });

  it('keep three significant digits', () => {
    expect([0, 0.061321, 1.5312, 29.34, 12345.6, Number.NaN].map(formatNumber)).toEqual([
      '0',
      '0.0613',
      '1.53',
      '29.3',
      '12,346',
      'NaN',
    ]);
    expect([0, 999, 1500, 98_400_000, 2_600_000_000].map(formatBytes)).toEqual([
      '0 B',
      '999 B',
      '1.5 kB',
      '98 MB',
      '2.6 GB',
    ]);
    expect([-1, 0.5, 2].map((share) => progressBar(share, 4))).toEqual(['[----]', '[##--]', '[####]']);
  });
});

describe('suggestions', () => {
  it('find the near word and nothing far', () => {
    expect(suggest('curiculumAlpha', ['curriculumAlpha', 'maxEpochs'])).toBe('curriculumAlpha');
    expect(suggest('sede', ['seed', 'soft'])).toBe('seed');
    expect(suggest('batch', ['patience', 'epochs'])).toBeUndefined();
  });

  it('count a swap of neighbours as one edit', () => {
    expect(editDistance('seed', 'sede')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
  });
});

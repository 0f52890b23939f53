import { describe, expect, it } from 'vitest';
import { renderInspection } from '../../cli/commands/data.ts';
import { parseColumns } from '../../cli/commands/recommend.ts';
import { exitCodeOf } from '../../cli/exit-codes.ts';
import { jobLine } from '../../cli/job-view.ts';
import { paintFor } from '../../cli/terminal.ts';
import type { Inspection } from '../../datasets/inspect/inspect-data.ts';
import { SoftflowError } from '../../errors.ts';

describe('--columns of recommend', () => {
  it('names columns, which may hold an equals sign', () => {
    expect(parseColumns('user=u,item=a=b')).toEqual({ user: 'u', item: 'a=b' });
    expect(parseColumns(undefined)).toEqual({});
  });

  it.each(['users=u', 'user', 'user=u,,item=i'])('refuses %s', (text) => {
    expect(() => parseColumns(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

it('an interrupted job ends with 130', () => {
  expect(exitCodeOf(new SoftflowError('INTERRUPTED', 'x'))).toBe(130);
});

describe('the line of a job in progress', () => {
  it('shows share, place, rate and time left, on one line of the terminal', () => {
    const progress = {
      ...{ step: 'recommend' as const, position: 'tile 2/4', done: 32, total: 128, unit: 'prompts' },
      ...{ rate: 1.5, secondsLeft: 64 },
    };
    expect(jobLine(progress, 200)).toBe(
      '[#####---------------] 32 of 128 prompts tile 2/4 1.5 prompts/s 1 min 04 s left',
    );
    expect(jobLine({ ...progress, position: 'x'.repeat(200) }, 60)).toHaveLength(60);
  });
});

describe('an inspection as text', () => {
  const inspection: Inspection = {
    file: {
      ...{ path: 'a\u001b[31m.csv', format: 'csv', gzip: true, encoding: 'latin-1', header: false, delimiter: ';' },
      ...{ columns: ['column1', 'b\u202e'], roles: { item: 'column1' } },
    },
    kind: 'interactions',
    counts: { rows: 12_345, users: 3, items: 2, unreadable: 4, badTime: 0 },
    times: { unit: 'ms', first: '2024-01-02T00:00:00.000Z', last: '2024-03-04T00:00:00.000Z' },
    ratings: { min: 1, max: 5 },
    checks: [{ id: 'equalTitles', count: 2, text: 'titles', examples: ['<b>\u001b]0;x\u0007'] }],
    mapping: { data: { source: { csv: { interactions: 'a.csv', items: 'items.csv' } } }, notes: ['No titles'] },
  };
  const lines = renderInspection(inspection, { paint: paintFor(false) });

  it('says what the file is, what it holds and what to look at', () => {
    expect(lines).toContain('interactions: 12,345 rows, 3 users, 2 items');
    expect(lines).toContain('  4 rows cannot be read');
    expect(lines).toContain('  from 2024-01-02 to 2024-03-04, in Unix milliseconds');
    expect(lines).toContain('look  equalTitles: 2 titles');
    expect(lines[0]).toBe('a.csv: CSV, semicolon, gzip, latin-1, no header');
    expect(lines.join('\n')).not.toContain('readable time');
  });

  it('ends with the mapping as YAML, and prints nothing that a terminal obeys', () => {
    expect(lines.slice(-5)).toEqual([
      'data:',
      '  source:',
      '    csv:',
      '      interactions: a.csv',
      '      items: items.csv',
    ]);
    expect(lines.join('')).not.toMatch(/[^\P{Cc}]|\u202e/u);
  });
});

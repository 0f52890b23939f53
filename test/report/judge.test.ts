import { describe, expect, it } from 'vitest';
import type { PredictionRow } from '../../datasets/schemas.ts';
import { type JudgeInput, judgeChallenger } from '../../report/judge.ts';

const predictions = (ranks: readonly number[]): PredictionRow[] =>
  ranks.map((rank, row) => ({
    windowId: `u${row}:3`,
    targetRow: row,
    text: '',
    rank,
    distance: 0,
    nearest: 0,
    exists: true,
    valid: true,
  }));
const repeat = (count: number, rank: number) => Array.from({ length: count }, () => rank);

function judge(challenger: number[], champion: number[], change: Partial<JudgeInput> = {}) {
  const rule = { metric: 'ndcg@10', minGain: 0, confidence: 0.95, minWindows: 50 };
  const sides = { challenger: predictions(challenger), champion: predictions(champion) };
  return judgeChallenger({ ...rule, opponent: 'champion', ...sides, ...change });
}

describe('a challenger', () => {
  it('is promoted when the whole interval of its gain lies above the bar, and the figures say so', () => {
    const judged = judge([...repeat(60, 1), ...repeat(40, 20)], [...repeat(30, 1), ...repeat(70, 20)]);
    expect(judged).toMatchObject({ promote: true, windows: 100, challenger: 0.6, champion: 0.3, wins: 30, losses: 0 });
    expect(judged.gain?.mean).toBeCloseTo(0.3, 12);
    expect(judged.gain?.low).toBeGreaterThan(0.2);
    expect(judged.gain?.high).toBeLessThan(0.4);
    expect(judged.why).toMatch(
      /^NDCG@10 \+\.300 against the champion \(95 % interval \+\.2\d+ to \+\.3\d+; better on 30, worse on 0 of 100 windows\): the interval lies above promote\.when\.minGain 0$/,
    );
  });

  it('is kept out when it is no better, worse, or better by less than the recipe asks for', () => {
    expect(judge(repeat(100, 3), repeat(100, 3))).toMatchObject({ promote: false, gain: { mean: 0, low: 0, high: 0 } });
    expect(judge(repeat(100, 20), [...repeat(30, 1), ...repeat(70, 20)]).promote).toBe(false);
    const better = [
      [...repeat(60, 1), ...repeat(40, 20)],
      [...repeat(30, 1), ...repeat(70, 20)],
    ] as const;
    const kept = judge([...better[0]], [...better[1]], { minGain: 0.3 });
    expect(kept.promote).toBe(false);
    expect(kept.why).toContain('does not lie above promote.when.minGain 0.3');
  });

  it('is kept out when only a handful of windows differ, however sure the bootstrap is', () => {
    const judged = judge([...repeat(5, 1), ...repeat(55, 20)], repeat(60, 20), { confidence: 0.6 });
    expect(judged.gain?.low).toBeGreaterThan(0);
    expect(judged).toMatchObject({ promote: false, why: expect.stringContaining('too few windows differ') });
  });

  it('may be asked only not to be worse', () => {
    expect(judge(repeat(100, 3), repeat(100, 3), { minGain: -0.01 }).promote).toBe(true);
    expect(judge([...repeat(95, 3), ...repeat(5, 20)], repeat(100, 3), { minGain: -0.01 }).promote).toBe(false);
  });

  it('is measured by the metric of the recipe', () => {
    const sides = [
      [...repeat(60, 9), ...repeat(40, 20)],
      [...repeat(60, 11), ...repeat(40, 20)],
    ] as const;
    expect(judge([...sides[0]], [...sides[1]], { metric: 'hr@10' })).toMatchObject({ promote: true, challenger: 0.6 });
    expect(judge([...sides[0]], [...sides[1]], { metric: 'hr@20' })).toMatchObject({ promote: false, challenger: 1 });
  });

  it('says against whom it stood when nothing is promoted yet', () => {
    const judged = judge(repeat(100, 1), repeat(100, 20), { opponent: 'popularity' });
    expect(judged).toMatchObject({ promote: true, opponent: 'popularity' });
    expect(judged.why).toContain('against popularity, as nothing is promoted yet (95 % interval');
  });
});

describe('too few windows', () => {
  it('keep the champion, with the figures that there are', () => {
    const judged = judge(repeat(49, 1), repeat(49, 20));
    expect(judged).toMatchObject({ promote: false, gain: null, windows: 49, challenger: 1, champion: 0 });
    expect(judged.why).toBe('too few windows: 49 to compare on, promote.minWindows is 50');
    expect(judge([], [])).toMatchObject({ promote: false, challenger: null, champion: null });
    expect(judge(repeat(50, 1), repeat(50, 20)).promote).toBe(true);
  });
});

describe('different windows', () => {
  it.each([
    ['of another number', predictions(repeat(3, 1)), 'row 2'],
    ['with another target', predictions(repeat(2, 1)).map((row) => ({ ...row, targetRow: 7 })), 'title row 7'],
    ['of other users', predictions(repeat(2, 1)).map((row) => ({ ...row, windowId: 'x:1' })), 'Received x:1'],
  ])('%s are refused, both sides named', (_, champion, named) => {
    expect(() => judge(repeat(2, 1), [], { champion })).toThrow(
      expect.objectContaining({ code: 'JUDGE_WINDOWS', message: expect.stringContaining(named) }),
    );
  });
});

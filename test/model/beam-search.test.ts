import { describe, expect, it } from 'vitest';
import { BeamSearch, type NextTokens } from '../../model/beam-search.ts';

/** Token 0 ends. Log-probabilities are halves and quarters, which float32 holds exactly. */
const END = 0;

function search(maxNewTokens: number, width = 2, endIds: number[] = [END]): BeamSearch {
  return new BeamSearch({ width, maxNewTokens, endIds });
}

function tokens(...pairs: [id: number, logProb: number][]): NextTokens {
  return { ids: pairs.map(([id]) => id), logProbs: pairs.map(([, logProb]) => logProb) };
}

/** What no test means to choose. */
const POOR = tokens([97, -90], [98, -91], [99, -92], [96, -93]);

it('asks for enough tokens that width beams can go on whatever ends', () => {
  expect(search(4).candidates).toBe(4);
  expect(search(4, 2, []).candidates).toBe(4);
  expect(search(4, 2, [0, 1]).candidates).toBe(6);
});

it('lets beams compete by plain sums, from whichever beam they come', () => {
  const beams = search(9);
  expect(beams.step([tokens([5, -1], [6, -2], [7, -5], [8, -9])])).toEqual([
    { origin: 0, id: 5, score: -1 },
    { origin: 0, id: 6, score: -2 },
  ]);
  // -1 - 4 = -5 against -2 - 0.5 and -2 - 0.75: both go on from the second beam.
  const next = beams.step([
    tokens([1, -4], [2, -5], [3, -6], [4, -7]),
    tokens([1, -0.5], [2, -0.75], [3, -8], [4, -9]),
  ]);
  expect(next).toEqual([
    { origin: 1, id: 1, score: -2.5 },
    { origin: 1, id: 2, score: -2.75 },
  ]);
  expect(beams.sequences).toEqual([
    [6, 1],
    [6, 2],
  ]);
});

describe('an end token', () => {
  it('among the best width candidates finishes, with its sum divided by its tokens, the end token counted', () => {
    const beams = search(9);
    beams.step([tokens([5, -1], [6, -2], [7, -5], [8, -9])]);
    beams.step([tokens([END, -2], [3, -2.5], [4, -7], [1, -8]), POOR]);
    expect(beams.result()).toEqual([{ ids: [5, END], score: -1.5 }]);
    expect(beams.sequences).toEqual([
      [5, 3],
      [5, 4],
    ]);
  });

  it('of a lower rank is dropped: it neither finishes nor runs on', () => {
    const beams = search(9);
    const next = beams.step([tokens([5, -1], [6, -2], [END, -2.5], [8, -3])]);
    expect(next.map(({ id }) => id)).toEqual([5, 6]);
    expect(beams.result()).toEqual([]);
  });

  it('of the first rank leaves its place to the next candidate that goes on', () => {
    const beams = search(9);
    const next = beams.step([tokens([END, -1], [5, -2], [6, -3], [7, -4])]);
    expect(next.map(({ id }) => id)).toEqual([5, 6]);
    expect(beams.result()).toEqual([{ ids: [END], score: -1 }]);
  });

  it('is any of several', () => {
    const beams = search(9, 2, [0, 1]);
    beams.step([tokens([1, -1], [0, -2], [5, -3], [6, -4], [7, -5], [8, -6])]);
    expect(beams.result().map(({ ids }) => ids)).toEqual([[1], [0]]);
  });
});

describe('the search closes', () => {
  /** Two finished places: scores -1 and -1.5. */
  function twoFinished(nextBest: number): BeamSearch {
    const beams = search(9);
    beams.step([tokens([END, -1], [5, -1.5], [6, -2], [7, -4])]);
    beams.step([tokens([END, -1.5], [3, nextBest + 1.5], [4, -50], [1, -51]), POOR]);
    expect(beams.result().map(({ score }) => score)).toEqual([-1, -1.5]);
    return beams;
  }

  it('not while the best running beam, divided by the tokens it has now, is above the worst finished one', () => {
    // The running beam's sum is -2.75 over 2 tokens: -1.375 > -1.5.
    const beams = twoFinished(-2.75);
    // It is of rank 0, the end token (sum -3) of rank 1.
    expect(beams.done).toBe(false);
  });

  it('when it is equal, since only a better one keeps it open', () => {
    const beams = search(9);
    beams.step([tokens([END, -1], [5, -1.5], [6, -2], [7, -4])]);
    // Sums -3 for the end token and -3 for token 3: both -1.5 over two tokens; ids break the tie.
    const next = beams.step([tokens([END, -1.5], [3, -1.5], [4, -50], [1, -51]), POOR]);
    expect(beams.done).toBe(true);
    expect(next).toEqual([]);
    expect(beams.result()).toEqual([
      { ids: [END], score: -1 },
      { ids: [5, END], score: -1.5 },
    ]);
  });

  it('not with fewer than width finished places, however poor the running beams', () => {
    const beams = search(9);
    beams.step([tokens([END, -1], [5, -80], [6, -81], [7, -82])]);
    expect(beams.done).toBe(false);
  });

  it('for good: nothing is added to its result afterwards', () => {
    const beams = search(9);
    beams.step([tokens([END, -1], [5, -1.5], [6, -2], [7, -4])]);
    beams.step([tokens([END, -1.5], [3, -1.5], [4, -50], [1, -51]), POOR]);
    const result = beams.result();
    beams.step([tokens([END, -0.001], [3, -1], [4, -2], [1, -3]), POOR]);
    expect(beams.result()).toEqual(result);
  });

  it('when no candidate can go on', () => {
    const beams = search(9);
    beams.step([tokens([END, -1])]);
    expect(beams.done).toBe(true);
    expect(beams.result()).toEqual([{ ids: [END], score: -1 }]);
  });
});

describe('at the last step', () => {
  it('unfinished beams compete with finished ones on the same score and stay without an end token', () => {
    const beams = search(2);
    beams.step([tokens([END, -3], [5, -1], [6, -2], [7, -4])].map(sorted));
    const next = beams.step([tokens([1, -1], [2, -2], [3, -8], [4, -9]), POOR]);
    expect(next).toEqual([]);
    expect(beams.done).toBe(true);
    expect(beams.result()).toEqual([
      { ids: [5, 1], score: -1 },
      { ids: [5, 2], score: -1.5 },
    ]);
  });

  it('a finished place stays when it is better', () => {
    const beams = search(2);
    beams.step([tokens([END, -1.25], [5, -1.5], [6, -2], [7, -4])]);
    beams.step([tokens([1, -1.5], [2, -2.5], [3, -8], [4, -9]), POOR]);
    expect(beams.result()).toEqual([
      { ids: [END], score: -1.25 },
      { ids: [5, 1], score: -1.5 },
    ]);
  });
});

describe('ties', () => {
  it('go to the earlier beam, then to the smaller token id', () => {
    const beams = search(9);
    expect(beams.step([tokens([9, -1], [4, -1], [7, -1], [5, -1])]).map(({ id }) => id)).toEqual([4, 5]);
    const next = beams.step([tokens([8, -1], [9, -1], [6, -4], [7, -5]), tokens([1, -1], [2, -1], [3, -4], [4, -5])]);
    expect(next.map(({ origin, id }) => [origin, id])).toEqual([
      [0, 8],
      [0, 9],
    ]);
  });

  it('of finished sequences go to the older one', () => {
    const beams = search(9);
    beams.step([tokens([5, -1], [END, -1.5], [6, -4], [7, -5])]);
    beams.step([tokens([END, -2], [5, -2.5], [6, -4], [7, -5]), POOR]);
    expect(beams.result()).toEqual([
      { ids: [END], score: -1.5 },
      { ids: [5, END], score: -1.5 },
    ]);
  });
});

it('adds log-probabilities in float32, as the reference does', () => {
  const beams = search(9);
  const [first, second] = [Math.fround(-0.1), Math.fround(-0.2)];
  beams.step([tokens([5, first], [6, -2], [7, -5], [8, -9])]);
  const [best] = beams.step([tokens([5, second], [6, -20], [7, -50], [8, -90]), POOR]);
  expect(best).toEqual({ origin: 0, id: 5, score: Math.fround(first + second) });
});

function sorted({ ids, logProbs }: NextTokens): NextTokens {
  const order = Array.from(ids, (id, i): [number, number] => [id, logProbs[i]!]);
  return tokens(...order.sort((a, b) => b[1] - a[1]));
}

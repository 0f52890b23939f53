import { describe, expect, it } from 'vitest';
import { BeamSearch } from '../../model/beam-search.ts';
import { TitleTrie } from '../../model/title-trie.ts';

const END = 2;

describe('a tree of titles', () => {
  const titles = new TitleTrie([
    [5, 6, END],
    [5, 7, END],
    [8, END],
  ]);

  it('tells the tokens that may follow', () => {
    expect([...titles.after([])]).toEqual([5, 8]);
    expect([...titles.after([5])]).toEqual([6, 7]);
    expect([...titles.after([5, 6])]).toEqual([END]);
    expect([...titles.after([5, 6, END])]).toEqual([]);
    expect([...titles.after([9])]).toEqual([]);
  });

  it('leads a beam search to titles only, and ends it when none is left', () => {
    const search = new BeamSearch({ width: 4, maxNewTokens: 10, endIds: [END] });
    let rows = [[] as number[]];
    for (let step = 0; step < 10 && !search.done; step++) {
      search.step(
        rows.map((ids) => ({ ids: titles.after(ids), logProbs: Array.from(titles.after(ids), (id) => -id / 10) })),
      );
      rows = search.sequences.map((ids) => [...ids]);
    }
    expect(search.result().map(({ ids }) => ids)).toEqual([
      [5, 6, END],
      [5, 7, END],
      [8, END],
    ]);
  });
});

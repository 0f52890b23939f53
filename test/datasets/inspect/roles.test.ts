import { describe, expect, it } from 'vitest';
import { guessRoles, guessRolesByContent } from '../../../datasets/inspect/roles.ts';

describe('guessRoles', () => {
  it.each([
    [
      ['user_id', 'parent_asin', 'rating', 'timestamp'],
      { user: 'user_id', item: 'parent_asin', rating: 'rating', time: 'timestamp' },
    ],
    [
      ['userId', 'movieId', 'rating', 'timestamp'],
      { user: 'userId', item: 'movieId', rating: 'rating', time: 'timestamp' },
    ],
    [['movieId', 'title', 'genres'], { item: 'movieId', title: 'title' }],
    [
      ['reviewerID', 'asin', 'overall', 'unixReviewTime', 'reviewText'],
      { user: 'reviewerID', item: 'asin', rating: 'overall', time: 'unixReviewTime' },
    ],
    [['asin', 'parent_asin', 'user_id', 'title', 'text'], { user: 'user_id', item: 'parent_asin' }],
    [['x', 'y'], {}],
  ])('knows %j', (names, roles) => {
    expect(guessRoles(names)).toEqual(roles);
  });
});

describe('guessRolesByContent', () => {
  it('tells user, item, rating and time of a file without a header', () => {
    const rows = [
      ['196', '242', '3', '881250949'],
      ['A3', 'B7', '4.5', '1681250949000'],
    ];
    expect(guessRolesByContent(['c1', 'c2', 'c3', 'c4'], rows)).toEqual({
      ...{ user: 'c1', item: 'c2', rating: 'c3', time: 'c4' },
    });
  });

  it('tells id and title of items', () => {
    expect(guessRolesByContent(['c1', 'c2'], [['1', 'Toy Story (1995)']])).toEqual({ item: 'c1', title: 'c2' });
  });
});

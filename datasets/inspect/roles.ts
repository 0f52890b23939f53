/** What a column can be. `split` says train, valid or test; `history` lists item ids that came before `item`. */
export const ROLES = ['user', 'item', 'rating', 'time', 'title', 'year', 'split', 'history'] as const;
export type Role = (typeof ROLES)[number];
export type Roles = Partial<Record<Role, string>>;

/** Names that people give their columns, in lower case without signs; the most telling first. */
const NAMES: Record<Role, readonly string[]> = {
  user: ['userid', 'user', 'reviewerid', 'customerid', 'visitorid', 'memberid', 'accountid', 'sessionid', 'uid'],
  item: [
    ...['itemid', 'item', 'parentasin', 'asin', 'movieid', 'productid', 'bookid', 'gameid', 'appid', 'trackid'],
    ...['songid', 'articleid', 'newsid', 'artistid', 'businessid', 'isbn', 'sku', 'iid'],
  ],
  rating: ['rating', 'overall', 'score', 'stars', 'weight'],
  time: [
    ...['timestamp', 'unixreviewtime', 'sorttimestamp', 'eventtimestamp', 'eventtime', 'createdat', 'datetime'],
    ...['time', 'date', 'ts', 'timestampms'],
  ],
  title: [
    ...['title', 'movietitle', 'itemtitle', 'producttitle', 'productname', 'itemname', 'booktitle', 'name', 'appname'],
  ],
  year: ['releaseyear', 'year', 'releasedate'],
  split: ['split', 'fold', 'subset', 'partition'],
  history: ['history', 'historyitemid', 'itemseq', 'itemidlist', 'historyitems'],
};

/** Which column is what, by its name; a role that no name tells is left out. */
export function guessRoles(names: readonly string[]): Roles {
  const plain = names.map((name) => name.toLowerCase().replace(/[^a-z0-9]/g, ''));
  const roles: Roles = {};
  for (const role of ROLES) {
    const known = NAMES[role].find((candidate) => plain.includes(candidate));
    if (known !== undefined) roles[role] = names[plain.indexOf(known)] as string;
  }
  // In reviews the title is that of the review.
  if (roles.user !== undefined && plain.some((name) => name === 'text' || name === 'reviewtext')) delete roles.title;
  return roles;
}

/** What a column of a file without a header looks like, by its first values. */
type Look = 'time' | 'small number' | 'id' | 'text';

/**
 * Which column is what in a file without a header, by its first rows: a time is a whole number of 9 to 13 digits, a
 * rating a small number after the ids, the first two others are user and item.
 */
export function guessRolesByContent(names: readonly string[], rows: readonly (readonly string[])[]): Roles {
  const looks = names.map((_, column) => lookOf(rows.map((row) => row[column] ?? '')));
  const roles: Roles = {};
  const take = (role: Role, column: number) => {
    if (column >= 0 && names[column] !== undefined) roles[role] = names[column];
  };
  if (looks.includes('time')) {
    take('time', looks.lastIndexOf('time'));
    take('user', 0);
    take('item', 1);
    if (looks[2] === 'small number') take('rating', 2);
  } else {
    take('item', 0);
    take('title', looks.indexOf('text', 1));
  }
  return roles;
}

function lookOf(values: readonly string[]): Look {
  const all = (pattern: RegExp) => values.length > 0 && values.every((value) => pattern.test(value));
  if (all(/^\d{9,13}$/)) return 'time';
  if (all(/^\d{1,2}(\.\d+)?$/)) return 'small number';
  return all(/^[\w.-]*$/) ? 'id' : 'text';
}

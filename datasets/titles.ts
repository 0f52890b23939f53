import { plainText } from './prompts.ts';

/** How titles are made from the source's text; the same shape as `data.title` in the run config. */
export interface TitleOptions {
  clean: boolean;
  year: 'keep' | 'strip' | 'column';
  article: 'keep' | 'restore';
  missing: 'drop' | 'id' | 'error';
}

/** A title and the year that was found beside or inside it. */
export interface CleanTitle {
  /** Empty when nothing is left. */
  title: string;
  year: number | null;
}

/**
 * The title that the model sees.
 *
 * Always on one line and trimmed. `clean` also drops tags, decodes HTML entities, collapses white space and takes off
 * a pair of quotes around the whole. `year: keep` shows the year in brackets behind the title, be it there already or
 * in a column of its own; `strip` and `column` leave it out.
 *
 * @param yearText the source's year column, when it has one
 */
export function makeTitle(raw: string, yearText: string | null, options: TitleOptions): CleanTitle {
  let title = plainText(options.clean ? cleanText(raw) : raw).trim();
  const trailing = findTrailingYear(title);
  const column = yearText?.trim() ?? '';
  const year = trailing?.year ?? (YEAR.test(column) ? Number(column) : null);
  if (trailing && options.year !== 'keep') title = trailing.without;
  if (options.article === 'restore') title = restoreArticles(title);
  if (options.year === 'keep' && !trailing && year !== null && title !== '') title = `${title} (${year})`;
  return { title: title.trim(), year };
}

const YEAR = /^(18|19|20)\d\d$/;

/** A year in brackets that ends the title; marks such as "(V)" for video may follow it and stay. */
function findTrailingYear(title: string): { year: number; without: string } | undefined {
  const match = /\(((?:18|19|20)\d\d)\)((?: \((?:V|TV|VG)\))?)$/.exec(title);
  if (!match) return undefined;
  const without = title.slice(0, match.index).trimEnd() + match[2];
  return { year: Number(match[1]), without };
}

function cleanText(raw: string): string {
  const text = decodeEntities(raw.replace(/<\/?[a-z][^<>]*>/gi, ' '))
    .replace(/\s+/g, ' ')
    .trim();
  const inside = text.slice(1, -1);
  const quoted = text.length > 1 && text.startsWith('"') && text.endsWith('"') && !inside.includes('"');
  return quoted ? inside.trim() : text;
}

/** Articles that catalogues move behind the title. Compared whole, so that "An" is never read as "A". */
const ARTICLES = new Set(
  (
    'The A An Le La Les Un Une Des Il Lo I Gli Uno Una El Los Las Der Die Das Den Det De Het Een Ein Eine En Ett ' +
    "Os O L'"
  ).split(' '),
);

/** "Usual Suspects, The (1995)" -> "The Usual Suspects (1995)"; the same inside brackets that end the title. */
function restoreArticles(title: string): string {
  let head = title;
  let tail = '';
  for (let open = head.lastIndexOf('('); head.endsWith(')') && open > 0; open = head.lastIndexOf('(')) {
    const before = head.slice(0, open).trimEnd();
    tail = `${head.slice(before.length, open)}(${restoreArticle(head.slice(open + 1, -1))})${tail}`;
    head = before;
  }
  return restoreArticle(head) + tail;
}

function restoreArticle(title: string): string {
  const comma = title.lastIndexOf(', ');
  const article = title.slice(comma + 2);
  if (comma <= 0 || !ARTICLES.has(article)) return title;
  return `${article}${article.endsWith("'") ? '' : ' '}${title.slice(0, comma)}`;
}

/** Names of the characters 160 to 255, in order. */
const LATIN_1 = (
  'nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro ' +
  'para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil ' +
  'Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave ' +
  'Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml ' +
  'igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute ' +
  'thorn yuml'
).split(' ');

const ENTITIES = new Map<string, string>([
  ...LATIN_1.map((name, i): [string, string] => [name, String.fromCodePoint(160 + i)]),
  ...Object.entries({
    amp: '&',
    lt: '<',
    gt: '>',
    quot: '"',
    apos: "'",
    ndash: '\u2013',
    mdash: '\u2014',
    lsquo: '\u2018',
    rsquo: '\u2019',
    ldquo: '\u201c',
    rdquo: '\u201d',
    hellip: '\u2026',
    bull: '\u2022',
    trade: '\u2122',
    euro: '\u20ac',
  }),
]);

function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([A-Za-z]+\d*));/g, (whole, decimal, hex, name) => {
    if (name) return ENTITIES.get(name) ?? whole;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

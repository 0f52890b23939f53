import { formatSeconds } from './format.ts';
import type { PreparedRun } from './prepare-run.ts';
import { oneLine, type Terminal } from './terminal.ts';

/** What `softflow data prepare --json` prints. */
export interface PreparedReport extends PreparedRun {
  /** Or the data file. */
  recipe: string;
}

/** Why rows are not among those that are kept, in the order in which they are left out. */
const LEFT_OUT: Record<string, string> = {
  unreadable: 'cannot be read',
  missingId: 'lack a user or an item',
  badTime: 'lack a readable time',
  badRating: 'lack a readable rating',
  badSplit: 'have no word for train, valid or test',
  duplicate: 'repeat another row',
  belowRating: 'are rated below data.ratingMin',
  noTitle: 'have an item without a title',
  belowCore: 'have a user or item with fewer rows than data.kCore',
  laterOtherUser: 'come later, of users outside of the core',
  laterOtherItem: 'come later, of items outside of the catalogue',
};

/** What people should look at before they train. */
const LOOK: Record<string, string> = {
  trainAfterTest: 'train targets are later than the first test target: training sees the future of the test',
  testItemsKnown: 'test targets are items that their user had before, in a train or validation row',
  targetsOutsideCatalogue: 'test targets are left out, as their item is not in the catalogue',
};

/** A preparation as lines of text. */
export function renderPrepared(report: PreparedReport, { paint }: Pick<Terminal, 'paint'>): string[] {
  const { recipe, reused, seconds, counts, windows, times, titles, splitHash, written } = report;
  const n = (name: string) => integer(counts[name] ?? 0);
  const said = (words: Record<string, string>) =>
    Object.entries(words).flatMap(([name, text]) => (counts[name] ? [[n(name), text] as const] : []));
  const drawn = (split: 'train' | 'valid' | 'test', all: string, from: string | null) =>
    `  ${split.padEnd(5)}  ${n(all)}, ${integer(windows[split])} drawn${from === null ? '' : `, targets from ${from.slice(0, 10)}`}`;
  return [
    `${oneLine(recipe, 200)}: ${reused ? 'prepared already' : `prepared in ${formatSeconds(seconds)}`}; a run of it reuses this`,
    '',
    `interactions: ${n('rows')} rows read, ${n('kept')} kept of ${n('users')} users and ${n('items')} items, ${integer(titles)} titles`,
    ...said(LEFT_OUT).map(([count, text]) => `  ${count} ${text}`),
    'windows:',
    drawn('train', 'windowsTrain', null),
    drawn('valid', 'windowsValid', times.valid),
    drawn('test', 'windowsTest', times.test),
    ...said(LOOK).map(([count, text]) => `${paint.yellow('look ')} ${count} ${text}`),
    `split hash: ${splitHash}`,
    ...(written
      ? ['', `Written to ${oneLine(written.folder, 200)}:`, ...written.files.map((file) => `  ${file}`)]
      : []),
  ];
}

const integer = (value: number): string => value.toLocaleString('en-US');

import * as z from 'zod';

const int = (min: number, max = Number.MAX_SAFE_INTEGER) => z.int().min(min).max(max);
const share = z.number().min(0).max(1);

/** A moment in time with its offset, as text: dates of YAML and of other zones are never guessed at. */
const InstantSchema = z
  .string()
  .refine((text) => z.iso.datetime({ offset: true }).safeParse(text).success, {
    error: 'expected an instant with its offset (RFC 3339), for instance 2026-11-25T03:00:00Z',
  })
  .meta({ format: 'date-time' });

const interactionColumns = {
  user: z.string().default('user_id').describe('User column.'),
  item: z.string().default('item_id').describe('Item column.'),
  rating: z.string().nullable().default(null).describe('Rating column, or null when there is none.'),
  time: z.string().default('timestamp').describe('Column of the time.'),
  split: z
    .string()
    .min(1)
    .optional()
    .describe('Column that says train, valid or test, where the data is split already.'),
};
const testPart = (what: string) => `${what} that are tested on, where the data is split already; the others train.`;
const validPart = (what: string) =>
  `${what} that are validated on, beside \`test\`; without it the latest train windows are, see \`data.split\`.`;
/** Column names are the source's own. */
const ColumnsSchema = z
  .strictObject({
    ...interactionColumns,
    itemsItem: z.string().default('item_id').describe('Item id column of the items.'),
    title: z.string().default('title').describe('Title column of the items, or of the interactions without items.'),
  })
  .prefault({});

/** A CSV pair; ids are text. Column names are the file's own. */
const CsvSourceSchema = z.strictObject({
  interactions: z.string().describe('Path of the interactions file (CSV, TSV, .gz; relative to the recipe).'),
  valid: z.string().optional().describe(validPart('Another such file with the rows')),
  test: z.string().optional().describe(testPart('Another such file with the rows')),
  items: z.string().describe('Path of the items file: one row an item with its title.'),
  columns: z
    .strictObject({
      ...interactionColumns,
      itemsItem: z.string().default('item_id').describe('Item id column of the items file.'),
      title: z.string().default('title').describe('Title column of the items file.'),
    })
    .prefault({}),
  delimiter: z.string().min(1).max(4).default(',').describe('What separates columns; "\\t" for a tab.'),
});
const RecboleSourceSchema = z.strictObject({
  folder: z.string().describe('Folder with <name>.inter and <name>.item.'),
  name: z.string().describe('Name of the data set: the files are <name>.inter and <name>.item.'),
  benchmark: z
    .array(z.string().regex(/^[^/\\]+$/))
    .min(2)
    .max(3)
    .optional()
    .describe(
      "Parts [train, valid, test] or [train, test] of data that is split already, as RecBole's benchmark_filename: <name>.<part>.inter.",
    ),
  titleField: z.string().default('movie_title').describe('Title field of the item file.'),
  yearField: z
    .string()
    .nullable()
    .default('release_year')
    .describe('Field with a year, for title.year: column; or null.'),
});
/** The project's own catalogue of series whose next part follows the last one watched. */
const PlantedSourceSchema = z.strictObject({
  series: int(2, 5000).default(70).describe('Series of the made catalogue.'),
  minParts: int(2, 50).default(4).describe('Fewest parts of a series.'),
  maxParts: int(2, 50).default(7).describe('Most parts of a series.'),
  users: int(1, 1_000_000).default(400).describe('Users that are made.'),
  seriesPerUser: int(1, 100).default(4).describe('Series that a user follows.'),
  skip: share.default(0.07).describe('Chance that a user skips a part.'),
  seed: int(0).default(42).describe('Of the catalogue and its users.'),
});
const ParquetSourceSchema = z.strictObject({
  folder: z.string().describe('Folder whose Parquet files (*.parquet, also in folders inside) hold the interactions.'),
  valid: z.string().optional().describe(validPart('Another such folder, or a file, with the rows')),
  test: z.string().optional().describe(testPart('Another such folder, or a file, with the rows')),
  items: z
    .string()
    .optional()
    .describe('Parquet file or folder of the items; without it titles stand beside the interactions.'),
  columns: ColumnsSchema,
});
const PostgresSourceSchema = z.strictObject({
  urlEnv: z
    .string()
    .refine((text) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(text), {
      error: 'expected the name of an environment variable that holds the connection string, not the string itself',
    })
    .describe('Name of the environment variable that holds the connection string where the worker runs.'),
  query: z.string().min(1).describe('One SELECT that gives the interactions; $1 is the cut-off, `data.asOf`.'),
  itemsQuery: z
    .string()
    .min(1)
    .optional()
    .describe('One SELECT that gives the items; without it titles stand beside the interactions.'),
  columns: ColumnsSchema,
});
export const DataSourceSchema = z.union([
  z.strictObject({ registry: z.literal('movielens-100k').describe('A data set that softflow fetches itself.') }),
  z.strictObject({ csv: CsvSourceSchema }),
  z.strictObject({ recbole: RecboleSourceSchema }),
  z.strictObject({ planted: PlantedSourceSchema }),
  z.strictObject({ parquet: ParquetSourceSchema }),
  z.strictObject({ postgres: PostgresSourceSchema }),
]);

type DataSourceConfig = z.infer<typeof DataSourceSchema>;

/** Where a source says itself what is train and what is test, as keys under `data.source`; empty where a run splits. */
export function givenSplit(source: DataSourceConfig): string[] {
  const [kind, fields] = Object.entries(source)[0] as [string, Record<string, unknown>];
  if (fields['test'] !== undefined) return [kind, 'test'];
  if (fields['benchmark'] !== undefined) return [kind, 'benchmark'];
  const columns = fields['columns'] as { split?: string } | undefined;
  return columns?.split === undefined ? [] : [kind, 'columns', 'split'];
}

/** The `data` section of a run config. Keys without a default change nothing while they are left out. */
export const DataConfigSchema = z
  .strictObject({
    source: DataSourceSchema.describe('Where interactions and items come from; exactly one kind.'),
    asOf: InstantSchema.optional().describe('Only interactions at or before this instant are used.'),
    knownAt: z
      .string()
      .min(1)
      .optional()
      .describe('Column with the time at which a row arrived; with `asOf`, rows that arrived later are left out.'),
    trainUntil: InstantSchema.optional().describe(
      'Targets of train and validation windows lie at or before this instant; what follows cannot change them.',
    ),
    testAfter: InstantSchema.optional().describe(
      'Targets of test windows lie after this instant; by default after `trainUntil`.',
    ),
    title: z
      .strictObject({
        clean: z
          .boolean()
          .default(true)
          .describe('Decode HTML entities, drop tags, collapse white space, strip quotes.'),
        year: z.enum(['keep', 'strip', 'column']).default('keep').describe('The year at the end of a title.'),
        article: z.enum(['keep', 'restore']).default('keep').describe('"Usual Suspects, The" -> "The Usual Suspects".'),
        missing: z
          .enum(['drop', 'id', 'error'])
          .default('drop')
          .describe('Items without a title: leave their rows out, take the id as title, or fail.'),
      })
      .prefault({}),
    timeUnit: z
      .enum(['auto', 's', 'ms'])
      .default('auto')
      .describe('Unit of times that are numbers; auto goes by their size.'),
    ratingMin: z.number().nullable().default(null).describe('Drop interactions rated below this.'),
    kCore: int(1)
      .default(10)
      .describe('Every user and item keeps at least this many rows; repeated until nothing changes.'),
    historyLength: int(1, 1000).default(10).describe("A window's history holds this many items at most, the latest."),
    split: z
      .strictObject({
        train: share.default(0.8).describe('Share of train windows.'),
        valid: share.default(0.1).describe('Share of validation windows.'),
      })
      .prefault({})
      .describe('Shares of the windows, by time; the rest is test. With `trainUntil` only their ratio counts.'),
    samples: z
      .strictObject({
        train: int(1).default(4096).describe('Train windows that are drawn, at most.'),
        valid: int(1).default(512).describe('Validation windows that are drawn, at most.'),
        test: int(1)
          .default(1000)
          .describe('Test windows that are drawn, at most; more tell smaller differences apart.'),
      })
      .prefault({}),
    maxBadRows: share.default(0.01).describe('Share of unreadable rows above which preparation fails.'),
  })
  .superRefine((data, context) => {
    const inOrder = (earlier: 'trainUntil' | 'testAfter', later: 'testAfter' | 'asOf') => {
      const [from, to] = [data[earlier], data[later]];
      if (from === undefined || to === undefined || Date.parse(from) <= Date.parse(to)) return;
      context.addIssue({
        code: 'custom',
        path: [earlier],
        message: `Expected \`${earlier}\` at or before ${later} (${to}), got ${from}`,
      });
    };
    inOrder('trainUntil', 'testAfter');
    inOrder('trainUntil', 'asOf');
    inOrder('testAfter', 'asOf');
    if (data.testAfter !== undefined && data.trainUntil === undefined)
      context.addIssue({
        code: 'custom',
        path: ['testAfter'],
        message: 'Expected `trainUntil` beside `testAfter`; without it windows are split by share',
      });
    for (const { path, message } of splitFaults(data.source, data.trainUntil))
      context.addIssue({ code: 'custom', path, message });
  });

/** What of a source's own split cannot be meant. */
function* splitFaults(source: DataSourceConfig, trainUntil: string | undefined) {
  const [kind, fields] = Object.entries(source)[0] as [string, Record<string, unknown>];
  const columns = fields['columns'] as { split?: string } | undefined;
  if (fields['valid'] !== undefined && fields['test'] === undefined)
    yield { path: ['source', kind, 'valid'], message: 'Expected `test` beside `valid`: a split needs rows to test on' };
  if (fields['test'] !== undefined && columns?.split !== undefined)
    yield {
      path: ['source', kind, 'columns', 'split'],
      message: 'Expected a split by files (`test`) or by a column, got both; leave one out',
    };
  const given = givenSplit(source);
  if (trainUntil !== undefined && given.length > 0)
    yield {
      path: ['trainUntil'],
      message: `Expected no \`trainUntil\` where the source has a split of its own (source.${given.join('.')}); leave one out`,
    };
}

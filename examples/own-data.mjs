// Your own data: from two CSV files to recommendations for people whom the model has never seen.
//
//   npm run build && node examples/own-data.mjs [folder of a Hugging Face model]
//
// The command does the same: softflow data inspect, softflow run, softflow recommend.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { connect, ensureEmbedded, inspectFile, openStore, Runs, recommend } from 'softflow';
import { smallRun } from './small-run.mjs';

const file = (name) => fileURLToPath(new URL(`./own-data/${name}`, import.meta.url));

const { counts, checks, mapping } = await inspectFile(file('interactions.csv'), { items: file('items.csv') });
console.log(counts);
for (const { id, text } of checks.filter(({ count }) => count > 0)) console.log(`look at ${id}: ${text}`);
console.log('for a recipe:', JSON.stringify(mapping.data));

const config = smallRun(process.argv[2], {
  name: 'books',
  data: {
    source: {
      csv: {
        interactions: file('interactions.csv'),
        items: file('items.csv'),
        columns: {
          user: 'customer_id',
          item: 'isbn',
          time: 'timestamp',
          itemsItem: 'isbn',
          title: 'title',
          rating: null,
        },
      },
    },
    kCore: 2,
    samples: { train: 16, valid: 4, test: 4 },
  },
  prompt: { noun: 'books', nounSingular: 'book', verb: 'read' },
});

const { target } = await ensureEmbedded();
const client = await connect(target);
const store = await openStore('.softflow/store', { create: true });
const runs = new Runs({ client, store });
const { runId } = await runs.result(await runs.start(config));
await client.connection.close();

const columns = { user: 'customer_id', item: 'isbn', time: 'timestamp' };
await recommend({ store, runId, users: file('histories.csv'), columns, output: 'books.csv', k: 3 });
console.log(readFileSync('books.csv', 'utf8'));

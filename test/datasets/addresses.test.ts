import { type AddressInfo, createServer, type Server, Socket } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { inspectFile } from '../../datasets/inspect/inspect-data.ts';
import type { DataSource } from '../../datasets/sources/source.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { COLUMNS, csvPair, interactionsCsv, itemsCsv, prepareAsOf, temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const listeners: Server[] = [];
let port = 0;
let connections = 0;

beforeAll(async () => {
  const listen = (host: string, at: number) =>
    new Promise<number>((resolve, reject) => {
      const server = createServer((socket) => {
        connections++;
        socket.destroy();
      });
      listeners.push(server);
      server.once('error', reject).listen(at, host, () => resolve((server.address() as AddressInfo).port));
    });
  port = await listen('127.0.0.1', 0);
  // Not every machine has IPv6.
  await listen('::1', port).catch(() => {});
});
afterAll(() => {
  for (const server of listeners) server.close();
});

/** Ways to write this machine, a cloud's metadata service and private networks. Source: OWASP's SSRF cheat sheet. */
const HOSTS = [
  ...'127.0.0.1 localhost LOCALHOST 127.1 127.0.1 0x7f000001 0x7f.0.0.1 2130706433 017700000001 0177.0.0.1 127.0.0.1.'.split(
    ' ',
  ),
  ...'0.0.0.0 0 [::1] [::] [::ffff:127.0.0.1] [0:0:0:0:0:ffff:7f00:1] 127.0.0.1%2500 ①②⑦.⓪.⓪.① 127。0。0。1 ⓛocalhost'.split(
    ' ',
  ),
  ...'user@127.0.0.1 example.com@127.0.0.1 169.254.169.254 metadata.google.internal [fd00:ec2::254] 10.0.0.1'.split(
    ' ',
  ),
  ...'192.168.0.1 172.16.0.1 100.100.100.200'.split(' '),
];
const OTHERS = [
  ...'ftp sftp tftp gopher dict ldap s3 s3a s3n gs gcs r2 hf az azure abfss'
    .split(' ')
    .map((s) => `${s}://127.0.0.1:PORT/a.csv`),
  '//127.0.0.1:PORT/a.csv',
  '\\\\127.0.0.1\\share\\a.csv',
  'jar:http://127.0.0.1:PORT/a.csv!/x',
  'http:127.0.0.1:PORT/a.csv',
  'http:\\\\127.0.0.1:PORT\\a.csv',
  ' http://127.0.0.1:PORT/a.csv',
  'HTTP://127.0.0.1:PORT/*.parquet',
  'data:text/csv,user_id',
];
const addresses = () =>
  [...HOSTS.flatMap((host) => [`http://${host}:PORT/a.csv`, `https://${host}:PORT/a.parquet`]), ...OTHERS].map((text) =>
    text.replace('PORT', String(port)),
  );

/** Everywhere that a recipe or a command takes a path of data. */
async function sourcesAt(address: string): Promise<DataSource[]> {
  const { csv } = await csvPair(folder, interactionsCsv([['u', 'a', 1]]), itemsCsv(['a']));
  return [
    { csv: { ...csv, interactions: address } },
    { csv: { ...csv, items: address } },
    { csv: { ...csv, test: address } },
    { parquet: { folder: address, columns: COLUMNS } },
    { parquet: { folder, items: address, columns: COLUMNS } },
    { recbole: { folder: address, name: 'a', titleField: 'title', yearField: null } },
  ];
}

test('An address in the place of a path of data is a file that is not there: nobody is called. (S8)', async (context) => {
  const connect = vi.spyOn(Socket.prototype, 'connect');
  const all = addresses();
  let tried = 0;
  for (const address of all) {
    for (const source of await sourcesAt(address)) {
      tried++;
      const name = `${Object.keys(source)[0]} ${address}`;
      await expect(prepareAsOf(source, folder, {}), name).rejects.toMatchObject({ name: 'SoftflowError' });
    }
    tried++;
    await expect(inspectFile(address), address).rejects.toMatchObject({ name: 'SoftflowError' });
  }
  expect(connect).not.toHaveBeenCalled();
  expect(connections).toBe(0);
  expect(all.length).toBeGreaterThanOrEqual(60);
  connect.mockRestore();
  faultFigure(context, tried, `${all.length} addresses, in ${tried / all.length} places each: no connection made`);
});

test('The listener of this test would have heard a call. (S8)', async () => {
  const closed = new Promise((resolve) => {
    new Socket().once('close', resolve).connect(port, '127.0.0.1').resume();
  });
  await closed;
  expect(connections).toBe(1);
});

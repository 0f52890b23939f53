import { createServer } from 'node:net';
import { SoftflowError } from '../errors.ts';

const HOST = '127.0.0.1';

/**
 * A port on which nobody listens: the one asked for, else the preferred one, else any.
 *
 * @throws SoftflowError `PORT_IN_USE` when the one asked for is taken
 */
export async function choosePort(what: string, asked: number | undefined, preferred: number): Promise<number> {
  if (asked !== undefined) {
    if (await isFree(asked)) return asked;
    throw new SoftflowError(
      'PORT_IN_USE',
      `Port ${asked} for ${what} is in use on ${HOST}. Stop what listens there, or choose another port.`,
      { details: { port: asked } },
    );
  }
  return (await isFree(preferred)) ? preferred : anyPort();
}

async function isFree(port: number): Promise<boolean> {
  return (await listen(port)) !== undefined;
}

/** A free port of the loopback interface. */
export async function anyPort(): Promise<number> {
  const port = await listen(0);
  if (port !== undefined) return port;
  throw new SoftflowError('PORT_IN_USE', `No free port on ${HOST}.`, { retryable: true });
}

/** The port that could be listened on, released again; undefined when it is taken. */
function listen(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(undefined));
    server.listen({ port, host: HOST, exclusive: true }, () => {
      const address = server.address();
      const found = typeof address === 'object' ? address?.port : undefined;
      server.close(() => resolve(found));
    });
  });
}

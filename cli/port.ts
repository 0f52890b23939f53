import { SoftflowError } from '../errors.ts';
import { oneLine } from './terminal.ts';

/** A port as an option names it; 0 is any free one. @throws SoftflowError `USAGE` */
export function parsePort(option: string, text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new SoftflowError(
    'USAGE',
    `${option} ${oneLine(text, 40)}: expected a number from 0 (any free port) to 65535.`,
  );
}

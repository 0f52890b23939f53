import { SoftflowError } from '../errors.ts';
import { oneLine } from './terminal.ts';

const UNITS: Record<string, number> = {
  MB: 1e6,
  GB: 1e9,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

/** `20GiB` in bytes. @throws SoftflowError `USAGE` */
export function parseByteSize(option: string, text: string): number {
  const [, number = '', unit = ''] = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$/.exec(text) ?? [];
  const bytes = Number(number) * (UNITS[unit] ?? 0);
  if (bytes > 0) return Math.floor(bytes);
  throw new SoftflowError(
    'USAGE',
    `${option} ${oneLine(text, 40)}: expected a number with one of ${Object.keys(UNITS).join(', ')}, for instance 20GiB.`,
  );
}

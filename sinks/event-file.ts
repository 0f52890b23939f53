import type { Scalar } from './run-scalars.ts';

/** Field numbers and wire types of the messages `Event`, `Summary` and `Summary.Value`. */
const EVENT = { wallTime: 0x09, step: 0x10, fileVersion: 0x1a, summary: 0x2a };
const SUMMARY_VALUE = 0x0a;
const VALUE = { tag: 0x0a, simpleValue: 0x15 };

/** A whole event file as TensorBoard reads it: records of protocol buffers, each with masked checksums. */
export function encodeEvents(scalars: readonly Scalar[], wallTime: number): Uint8Array {
  const version = event(wallTime, [EVENT.fileVersion], text('brain.Event:2'));
  const events = scalars.map(({ name, value, step }) => {
    const scalar = [...[VALUE.tag], ...text(name), VALUE.simpleValue, ...float(value)];
    const summary = [SUMMARY_VALUE, ...varint(scalar.length), ...scalar];
    return event(wallTime, [EVENT.step, ...varint(step), EVENT.summary], [...varint(summary.length), ...summary]);
  });
  return Buffer.concat([version, ...events].map(record));
}

function event(wallTime: number, head: number[], rest: number[]): Buffer {
  const time = Buffer.alloc(8);
  time.writeDoubleLE(wallTime);
  return Buffer.from([EVENT.wallTime, ...time, ...head, ...rest]);
}

/** Length, its checksum, data, its checksum. */
function record(data: Buffer): Buffer {
  const framed = Buffer.alloc(data.length + 16);
  framed.writeBigUInt64LE(BigInt(data.length), 0);
  framed.writeUInt32LE(maskedCrc(framed.subarray(0, 8)), 8);
  data.copy(framed, 12);
  framed.writeUInt32LE(maskedCrc(data), 12 + data.length);
  return framed;
}

function text(value: string): number[] {
  const bytes = Buffer.from(value);
  return [...varint(bytes.length), ...bytes];
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

/** CRC-32C (Castagnoli), reflected. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Rotated and shifted, so that the checksum of data that holds checksums stays a good one. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

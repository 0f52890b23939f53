/**
 * The character that stands for each byte in a byte-level vocabulary (GPT-2's table): printable Latin-1 characters
 * stand for themselves, the others get the code points from 256 on, in order.
 */
export function byteSymbols(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/** The middle of the values; the mean of the two middle ones where their number is even. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return sorted.length === 0 ? Number.NaN : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of each pair's peer time / softflow time; undefined without pairs. */
export function medianRatio({ peer, softflow }: { peer: readonly number[]; softflow: readonly number[] }) {
  if (peer.length === 0) return undefined;
  return median(peer.map((seconds, pair) => seconds / softflow[pair]!));
}

/** Lines of a table, the first column to the left and the others to the right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

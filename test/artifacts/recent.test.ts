import { expect, test } from 'vitest';
import { KEPT, Recent } from '../../artifacts/recent.ts';

test('however many names are seen, those last in use are known and few are kept (R16)', () => {
  const recent = new Recent<number>();
  const names = Array.from({ length: 20 * KEPT }, (_, i) => `tiles/${i}`);
  for (const [i, name] of names.entries()) {
    recent.set(name, i);
    recent.get('blobs');
    if (i === 0) recent.set('blobs', -1);
  }
  expect(recent.get('blobs')).toBe(-1);
  expect(names.filter((name) => recent.get(name) !== undefined)).toEqual(names.slice(-KEPT + 1));
  // Some twenty names a run: reached within the first minutes of a busy worker, not after hours.
  expect(KEPT).toBeLessThanOrEqual(1000);
});

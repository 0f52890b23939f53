import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson, digestOf, sha256Hex } from '../../artifacts/canonical-json.ts';
import { stepKey } from '../../artifacts/step-key.ts';
import { KEY, OTHER_KEY } from './fixtures.ts';

describe('canonical JSON', () => {
  test('The example of RFC 8785 comes out as printed there.', () => {
    const numbers: unknown = JSON.parse('[333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001]');
    const value = { numbers, string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\"/', literals: [null, true, false] };
    expect(canonicalJson(value)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  test('Keys are sorted by UTF-16 code units, as the RFC asks.', () => {
    const keys = ['\u20ac', '\r', '\ufb33', '1', '\u{1f600}', '\u0080', '\u00f6'];
    const value = Object.fromEntries(keys.map((key) => [key, 0]));
    expect(Object.keys(JSON.parse(canonicalJson(value)) as object).filter((key) => key !== '1')).toEqual([
      '\r',
      '\u0080',
      '\u00f6',
      '\u20ac',
      '\u{1f600}',
      '\ufb33',
    ]);
  });

  test.each([
    ['undefined', undefined],
    ['an undefined field', { a: { b: undefined } }],
    ['a hole', new Array(3)],
    ['NaN', { a: [Number.NaN] }],
    ['Infinity', Number.NEGATIVE_INFINITY],
    ['a date', new Date(0)],
    ['bytes', new Uint8Array(2)],
    ['a map', new Map()],
    ['a function', () => 1],
    ['a bigint', 1n],
    ['half a surrogate pair', '\ud800'],
    ['half a surrogate pair in a key', { '\udc00': 1 }],
  ])('%s is refused.', (_, value) => {
    expect(() => canonicalJson(value)).toThrow(expect.objectContaining({ code: 'CANONICAL_JSON_INVALID' }));
  });

  test('Any JSON value survives the round trip, and the order of keys does not matter.', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const text = JSON.stringify(value);
        fc.pre(!/\\ud[89a-f]/i.test(text));
        const copy: unknown = JSON.parse(text, (_, item: unknown) =>
          item !== null && typeof item === 'object' && !Array.isArray(item)
            ? Object.fromEntries(Object.entries(item).reverse())
            : item,
        );
        expect(canonicalJson(copy)).toBe(canonicalJson(JSON.parse(text)));
        expect(digestOf(copy)).toBe(sha256Hex(Buffer.from(canonicalJson(copy))));
      }),
    );
  });
});

describe('step keys', () => {
  const identity = { step: 'trainEpoch', contractVersion: 1, inputs: { data: KEY }, params: { lambda: 1, rank: 8 } };
  const ref = { uri: `blobs/${KEY}`, sha256: KEY, bytes: 7, rows: 3 };

  test('An input counts by its digest alone.', () => {
    const key = stepKey(identity);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(stepKey({ ...identity, inputs: { data: ref } })).toBe(key);
    expect(
      stepKey({ ...identity, inputs: { data: { ...ref, rows: 4, uri: `checkpoints/${KEY}/blobs/${KEY}` } } }),
    ).toBe(key);
    expect(stepKey({ ...identity, params: { rank: 8, lambda: 1 } })).toBe(key);
  });

  test('Everything that changes the result changes the key.', () => {
    const changed = [
      { ...identity, step: 'evaluate' },
      { ...identity, contractVersion: 2 },
      { ...identity, inputs: { data: OTHER_KEY } },
      { ...identity, inputs: { titles: KEY } },
      { ...identity, params: { lambda: 0.5, rank: 8 } },
    ];
    expect(new Set([identity, ...changed].map(stepKey)).size).toBe(6);
  });

  test('An input that is no digest is refused.', () => {
    expect(() => stepKey({ ...identity, inputs: { data: 'latest' } })).toThrow(/64 lower-case hex/);
  });
});

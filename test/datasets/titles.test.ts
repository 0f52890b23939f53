import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeTitle, type TitleOptions } from '../../datasets/titles.ts';

const KEEP: TitleOptions = { clean: true, year: 'keep', article: 'keep', missing: 'drop' };
const title = (raw: string, options: Partial<TitleOptions> = {}, year: string | null = null) =>
  makeTitle(raw, year, { ...KEEP, ...options }).title;

describe('titles', () => {
  it('get their article back in front, the year staying where it is', () => {
    const restore = (raw: string) => title(raw, { article: 'restore' });
    expect(restore('Usual Suspects, The (1995)')).toBe('The Usual Suspects (1995)');
    expect(restore('American Werewolf in London, An')).toBe('An American Werewolf in London');
    expect(restore("Bug's Life, A")).toBe("A Bug's Life");
    expect(restore('Postino, Il')).toBe('Il Postino');
    expect(restore("Avventura, L' (1960)")).toBe("L'Avventura (1960)");
    expect(restore('City of Lost Children, The (Cité des enfants perdus, La) (1995)')).toBe(
      'The City of Lost Children (La Cité des enfants perdus) (1995)',
    );
    expect(restore('Good, The Bad and The Ugly, The')).toBe('The Good, The Bad and The Ugly');
    for (const same of ['Paris, Texas', 'Corrina, Corrina', 'The', ', The', 'Red, Theatre', 'Odd), The)'])
      expect(restore(same)).toBe(same);
  });

  it('show, lose or record their year, be it behind the title or in a column', () => {
    expect(title('Heat (1995)')).toBe('Heat (1995)');
    expect(title('Heat', {}, '1995')).toBe('Heat (1995)');
    expect(title('Heat (1995)', {}, '1995')).toBe('Heat (1995)');
    expect(title('Heat', {}, 'V')).toBe('Heat');
    expect(title('2001', {}, null)).toBe('2001');
    for (const year of ['strip', 'column'] as const) {
      expect(title('Heat (1995)', { year })).toBe('Heat');
      expect(title('Heat', { year }, '1995')).toBe('Heat');
      expect(title('Heat (1995) (V)', { year })).toBe('Heat (V)');
      expect(title('1984 (Orwell)', { year })).toBe('1984 (Orwell)');
      expect(makeTitle('Heat', '1995', { ...KEEP, year }).year).toBe(1995);
    }
    expect(makeTitle('Heat (1996)', '1995', KEEP).year).toBe(1996);
  });

  it('are cleaned of entities, tags, white space and a pair of quotes', () => {
    expect(title('  Tom &amp; Jerry&#39;s  <b>Big</b>\tDay &quot;Out&quot; ')).toBe('Tom & Jerry\'s Big Day "Out"');
    expect(title('Am&eacute;lie &#x1F3AC; &bogus; I <3 U &amp;lt;')).toBe('Amélie 🎬 &bogus; I <3 U &lt;');
    expect(title('"Quoted"')).toBe('Quoted');
    expect(title('"Crocodile" Dundee')).toBe('"Crocodile" Dundee');
    expect(title('<span id="x"></span>')).toBe('');
    expect(title(' Tom &amp; <b>Jerry</b> ', { clean: false })).toBe('Tom &amp; <b>Jerry</b>');
  });

  it('are always trimmed and on one line, quickly, whatever they hold', () => {
    const options = fc.record({
      clean: fc.boolean(),
      year: fc.constantFrom('keep', 'strip', 'column'),
      article: fc.constantFrom('keep', 'restore'),
      missing: fc.constant('drop'),
    }) as fc.Arbitrary<TitleOptions>;
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), options, (raw, given) => {
        const made = makeTitle(raw, null, given).title;
        expect(made).toBe(made.trim());
        expect(made).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/u);
      }),
    );
    const start = performance.now();
    for (const text of ['(', '()', '<', '&#', ', The', '((1995)', ' (V)'])
      title(text.repeat(50_000), { article: 'restore', year: 'strip' });
    expect(performance.now() - start).toBeLessThan(3000);
  });
});

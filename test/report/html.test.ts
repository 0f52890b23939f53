import { describe, expect, it, vi } from 'vitest';
import { renderReportHtml } from '../../report/html.ts';
import { buildRunSummary } from '../../report/run-summary.ts';
import { smallRun } from './fixtures.ts';

const summary = buildRunSummary(smallRun());
const html = renderReportHtml(summary);
const text = html.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ');

describe('HTML report', () => {
  it('gives the same bytes however many charts the process has drawn before', () => {
    expect(renderReportHtml(buildRunSummary(smallRun()))).toBe(html);
  });

  it('shows loss, curriculum, validation and metric charts as SVG in the page with a spoken description', () => {
    const charts = html.match(/<svg role="img" aria-label="[^"]+"/g);
    expect(charts).toHaveLength(6);
    expect(charts?.[0]).toContain('Training loss by step. SFT from 3.1 to 1.4; SOFT from 2.6 to 1.6.');
    expect(charts?.[1]).toContain('Lambda by epoch 1, 0.061; distance from 40.6 to 29.3 to 23.');
    const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, id] of html.matchAll(/url\(#([^)]+)\)/g)) expect(ids).toContain(id);
  });

  it('leaves out the charts of what a run does not have', () => {
    const bare = buildRunSummary(smallRun({ curriculum: [], epochs: { sft: [], soft: [] } }));
    expect(renderReportHtml(bare).match(/<svg /g)).toHaveLength(2);
  });

  it('draws no line of a single point: its figure stands in the tables', () => {
    const { sft, soft } = summary.stages;
    const first = {
      sft: { ...sft, epochs: sft.epochs.slice(0, 1) },
      soft: { ...soft, epochs: soft.epochs.slice(0, 1) },
    };
    const short = renderReportHtml({ ...summary, stages: first, ks: [10] });
    expect([...short.matchAll(/<svg role="img" aria-label="([^.]+)/g)].map(([, title]) => title)).toEqual([
      'Training loss by step',
      'Lambda and distance by epoch',
    ]);
  });

  it('shows why the run was promoted or kept once that is decided, with the interval', () => {
    expect(html).not.toContain('id="promotion"');
    const figures = { metric: 'ndcg@10', challenger: 0.31, champion: 0.25, gain: 0.06, low: 0.021, high: 0.104 };
    const rule = { windows: 420, confidence: 0.95, minGain: 0 };
    const champion = 'c'.repeat(64);
    const promotion = {
      decision: 'kept',
      why: 'too <few>',
      release: 'a'.repeat(64),
      champion,
      figures: { ...figures, ...rule },
    };
    const decided = renderReportHtml({ ...summary, promotion });
    const words = decided.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ');
    expect(words).toContain('kept : too &lt;few&gt;');
    expect(words).toContain('NDCG@10 .3100 .2500 +.060 +.021 to +.104 420 95 % interval above 0');
    expect(words).toContain('against the champion cccccccccccc');
    expect(decided).toContain('href="#promotion"');
    const unjudged = renderReportHtml({ ...summary, promotion: { ...promotion, champion: null, figures: {} } });
    expect(unjudged).toContain('against popularity');
    expect(unjudged).not.toContain('95 % interval above');
  });

  it('asks nothing of the network and runs no script', () => {
    expect(html).toContain(`http-equiv="Content-Security-Policy" content="default-src 'none'`);
    expect(html).not.toMatch(/<script|<link|<img|<iframe|<object|@import| src=| href="(?!#)| on[a-z]+=|url\((?!#)/i);
    expect([...html.matchAll(/https?:[^"\s)]*/g)].map(([url]) => url)).toEqual(
      Array(6).fill('http://www.w3.org/2000/svg'),
    );
  });

  it('escapes titles and lets no control character through', () => {
    expect(html).toContain('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp;');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none is left is the point
    expect(html).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });

  it('escapes what comes from config, card and fingerprint too', () => {
    const evil = smallRun({ fingerprint: { cpu: '</pre><b>' }, runId: '<i>' });
    evil.data.card = { '<u>': 1 };
    evil.data.counts['<s>'] = 1;
    expect(renderReportHtml(buildRunSummary(evil))).not.toMatch(/<\/pre><b>|<i>|<u>|<s>/);
  });

  it('shows the figures of every model with their intervals, and chance', () => {
    expect(text).toMatch(/SOFT \.0156 \.000&ndash;\.047 \.0313/);
    expect(text).toMatch(/chance \.0009 \.0043 \.0087 \.0174 \.0434/);
    expect(text).toContain('SOFT against SFT, HR@10 +.016 within noise');
  });

  it('shows HR on slices of the test windows, by history length and by popularity of the target', () => {
    expect(text).toMatch(/By items in the history .* 10 64 \.0000/);
    expect(text).toMatch(/By train windows with the same target title .* 0 1 \.0000/);
  });

  it('shows every epoch in figures', () => {
    expect(text).toMatch(/SFT epoch 2 chosen 1\.6 \.0300 30 %/);
    expect(text).toMatch(/SOFT epoch 1 2\.1 1 40\.6 29\.3 \.0100 10 %/);
  });

  it('shows tokens/s and mfu of each training step that counted them, and of all training', () => {
    const input = smallRun();
    const timed = (seconds: number, tokensPerSecond: number, mfu: number) => ({
      ...input.steps[1]!,
      telemetry: { seconds, resumes: 0, tokensPerSecond, mfu },
    });
    const run = buildRunSummary({ ...input, steps: [input.steps[0]!, timed(10, 300, 0.5), timed(30, 500, 0.7)] });
    expect(run.telemetry.training).toEqual({ seconds: 40, tokensPerSecond: 450, mfu: expect.closeTo(0.65, 9) });
    const page = renderReportHtml(run)
      .replace(/<[^>]+>/g, ' ')
      .replace(/\s+/g, ' ');
    expect(page).toContain('Training speed 450 tokens/s mfu 0.65, over 40 s of training');
    expect(page).toMatch(/sft epoch 1 30 s 500 0\.70 this run/);
    expect(text).not.toContain('Training speed');
  });

  it('names a model by the last part of its path in the head', () => {
    const config = { ...smallRun().config, model: { source: { folder: '/home/ana/models/my-llama/' } } };
    const page = renderReportHtml(buildRunSummary(smallRun({ config })));
    expect(page).toContain('my-llama on movielens-100k: 96 train');
    expect(page.split('<section')[0]).not.toContain('/home/ana');
  });

  it('counts the self-distilled targets', () => {
    expect(text).toContain('96 rows, 30 distinct texts; 19 are titles of the catalogue, 4 are the true next title.');
  });

  it('names every artifact with its digest, and the config', () => {
    for (const row of summary.lineage) for (const { sha256 } of row.artifacts) expect(html).toContain(sha256);
    expect(text).toContain('&quot;curriculumAlpha&quot;: 10');
  });

  it('writes nothing to the console', () => {
    const warn = vi.spyOn(console, 'warn');
    const error = vi.spyOn(console, 'error');
    renderReportHtml(summary);
    expect([...warn.mock.calls, ...error.mock.calls]).toEqual([]);
  });
});

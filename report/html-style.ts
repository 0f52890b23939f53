/** The report's style sheet: one column of at most 1,120 px, light and dark, narrow screens and print. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1f2428; --muted: #5d666f; --line: #e2e4e6;
  --accent: #2f6f73; --warn-ink: #7a4a00; --warn: #fdf3df; --good: #2c6e49;
  --sft: #3367b0; --soft: #c14f2c; --popularity: #5f7f3c; --zero-shot: #8067a8;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #15181b; --card: #1d2125; --ink: #e6e8ea; --muted: #a1aab2; --line: #343a40;
    --accent: #6fbdc1; --warn-ink: #f0cd8d; --warn: #3a2e17; --good: #7fc79c;
    --sft: #7fabec; --soft: #f08e6c; --popularity: #a5c47e; --zero-shot: #bba6e0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main, header, footer { max-width: 1168px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 12px; letter-spacing: -0.005em; }
h3 { font-size: 15px; margin: 0 0 8px; }
section > h3 { margin-top: 20px; }
a { color: var(--accent); }
a:focus-visible, .scroll:focus-visible, summary:focus-visible, pre:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -9999px; }
.skip:focus { left: 16px; top: 12px; background: var(--card); padding: 6px 12px; border-radius: 6px; z-index: 1; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 20px 0 0; padding: 0; font-size: 13.5px; }
nav a { color: var(--muted); }
p { margin: 0 0 10px; max-width: 78ch; }
.muted, figcaption, small { color: var(--muted); }
small { font-size: 12px; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12.5px; }
.cards, .charts, .columns, .examples { display: grid; gap: 16px; }
.cards { grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); margin: 24px 0 0; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.columns { grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.examples { grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); }
.card, figure, article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; margin: 0; min-width: 0; }
.card .value { font-size: 27px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card .label { font-size: 13px; color: var(--muted); }
.card .note { font-size: 13px; }
.better { color: var(--good); }
.worse { color: var(--warn-ink); }
figure h3 { margin-bottom: 4px; }
figure svg { display: block; width: 100%; height: auto; font-family: inherit; }
figcaption { font-size: 12.5px; margin-top: 6px; }
ul.findings { padding-left: 20px; margin: 0; max-width: 92ch; }
ul.findings li { margin: 4px 0; overflow-wrap: anywhere; }
.warning { background: var(--warn); color: var(--warn-ink); border-radius: 10px; padding: 10px 16px 10px 34px; margin-top: 12px !important; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 7px 12px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { font-size: 12.5px; font-weight: 600; color: var(--muted); white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
.num { padding-left: 8px; padding-right: 10px; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.num small { display: block; font-size: 11px; }
th.group { text-align: center; border-left: 1px solid var(--line); }
td.first, th.first { border-left: 1px solid var(--line); }
tr.chance > * { color: var(--muted); font-weight: 400; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; }
.dot.sft { background: var(--sft); } .dot.soft { background: var(--soft); }
.dot.popularity { background: var(--popularity); } .dot.zeroShot { background: var(--zero-shot); }
.dot.chance { border: 1.5px dashed var(--muted); }
.narrow { max-width: 440px; }
.text { overflow-wrap: anywhere; }
.bars { list-style: none; margin: 0; padding: 0; font-size: 13.5px; }
.bars li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 2px 12px; margin: 7px 0; }
.bars meter { grid-column: 1 / -1; width: 100%; height: 6px; border: 0; background: var(--line); border-radius: 3px; overflow: hidden; appearance: none; }
.bars meter::-webkit-meter-bar { background: var(--line); border: 0; height: 6px; border-radius: 3px; }
.bars meter::-webkit-meter-optimum-value { background: var(--accent); }
.bars meter::-moz-meter-bar { background: var(--accent); }
.history { font-size: 13.5px; color: var(--muted); margin: 0 0 10px; overflow-wrap: anywhere; }
.truth { margin: 0 0 10px; overflow-wrap: anywhere; }
dl.answers { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 6px 12px; margin: 0; font-size: 14px; }
dl.answers dt { font-weight: 600; white-space: nowrap; }
dl.answers dd { margin: 0; overflow-wrap: anywhere; }
.tag { font-size: 11.5px; border: 1px solid var(--line); border-radius: 999px; padding: 0 7px; color: var(--muted); white-space: nowrap; }
details { margin-top: 12px; }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; overflow-x: auto; margin: 10px 0 0; }
.digest { overflow-wrap: anywhere; font-size: 11.5px; min-width: 220px; }
footer { padding-top: 32px; padding-bottom: 48px; font-size: 13px; color: var(--muted); }
@media (max-width: 600px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 24px; }
  h1 { font-size: 23px; }
  .cards { grid-template-columns: 1fr 1fr; gap: 10px; }
  .card { padding: 12px 14px; }
  .card .value { font-size: 21px; }
  th, td { padding: 6px 9px; }
  tbody th { white-space: normal; min-width: 96px; }
}
@media print {
  body { background: #fff; font-size: 11px; }
  nav, .skip { display: none; }
  .charts { grid-template-columns: 1fr 1fr; }
  details::details-content { content-visibility: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; overflow: visible; }
  table { font-size: 11px; }
  th, td { padding: 4px 6px; }
  .num { padding-left: 4px; padding-right: 4px; }
  .digest { min-width: 0; }
  h2 { margin-top: 24px; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  figure, article, .card, tr { break-inside: avoid; }
}
`;

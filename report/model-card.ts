import { verdict } from './bootstrap.ts';
import { escapeMarkdown } from './escape.ts';
import { integer, interval, percent, rate, signed } from './format.ts';
import { MODEL_LABELS, type ModelSummary, type RunSummary } from './summary-types.ts';

interface Source {
  name: string;
  /** Where it is from and its terms, as far as softflow knows them. */
  licence: string;
  /** Hugging Face id or licence id for the front matter. */
  id?: string;
}

const MODELS: Record<string, Source> = {
  'smollm2-135m-instruct': {
    name: 'SmolLM2-135M-Instruct',
    licence: 'Apache-2.0',
    id: 'HuggingFaceTB/SmolLM2-135M-Instruct',
  },
};
const DATA: Record<string, Source> = {
  'movielens-100k': {
    name: 'MovieLens-100K (GroupLens)',
    licence: 'research use only; no redistribution and no commercial use without permission',
  },
};

/** What a card speaks of: the adapter alone, the base model with it merged in, or tables that were made with them. */
export type CardSubject = 'adapter' | 'merged' | 'topk' | 'embeddings';

interface SubjectText {
  library?: string;
  /** Goes on with ", trained with SOFT". */
  sentence: string;
  licence: string;
}

const TABLE_LICENCE = 'The terms of the data apply to titles and ids, those of the base model to what it computed.';
const SUBJECTS: Record<CardSubject, SubjectText> = {
  adapter: {
    library: 'peft',
    sentence: 'A LoRA adapter for next-item recommendation',
    licence: 'An adapter carries what it was trained on: the terms of the base model and of the data both apply to it.',
  },
  merged: {
    library: 'transformers',
    sentence:
      'A language model for next-item recommendation: the base model with a LoRA adapter merged into its weights (float32)',
    licence: 'It holds the base model itself: the terms of the base model and of the data both apply to it.',
  },
  topk: {
    sentence: 'The top items for every user of the data, by a language model with a LoRA adapter',
    licence: TABLE_LICENCE,
  },
  embeddings: {
    sentence:
      'The title embeddings of the base model, to which the answers of a LoRA adapter are grounded; that adapter is',
    licence: TABLE_LICENCE,
  },
};

/**
 * Model card of what a run made: the README.md of the adapter's or the merged model's folder. Results only, so the same
 * run gives the same bytes.
 */
export function renderModelCard(run: RunSummary, subject: CardSubject = 'adapter'): string {
  const { library, sentence, licence } = SUBJECTS[subject];
  const model = modelSource(run.config.model.source);
  const data = dataSource(run.config.data.source);
  return `---
${library ? `library_name: ${library}\n` : ''}${model.id ? `base_model: ${JSON.stringify(model.id)}\n` : ''}tags: [recommendation, lora, soft]
---

# ${escapeMarkdown(run.name)}

${sentence}, trained with SOFT (Self-Optimized Fine-Tuning, arXiv 2505.20771): supervised fine-tuning, self-distillation, then a curriculum from the model's own answers to the true titles. The model answers a prompt of a user's last items with a title; the answer is grounded to the catalogue by embedding distance.

| | |
| --- | --- |
| Base model | ${escapeMarkdown(model.name)} |
| Data | ${escapeMarkdown(data.name)} |
| Windows | ${integer(run.data.windows.train)} train, ${integer(run.data.windows.valid)} validation, ${integer(run.data.windows.test)} test, ${run.data.counts['rowsWithoutHistory'] === undefined ? 'split by time' : 'split as the data says'} |
| Catalogue | ${integer(run.data.titles)} titles |
| Curriculum | pace ${run.config.soft.curriculumAlpha}; lambda ${run.curriculum.map(({ lambda }) => rate(lambda)).join(', ') || 'none'} |
| Training | learning rate ${run.config.train.learningRate}, batch ${run.config.train.batchSize}, seed ${run.config.seed} |
| Adapter digest | \`${run.digests.softAdapter}\` |

## Results

On ${integer(run.data.windows.test)} test windows, ranked over the whole catalogue; brackets are 95 % bootstrap intervals.

${resultTable(run)}

${comparisons(run)}

## Limits

${limits(run)}

## Licences

- Base model: ${escapeMarkdown(model.licence)}.
- Data: ${escapeMarkdown(data.licence)}.

${licence}
`;
}

function resultTable(run: RunSummary): string {
  const k = run.headlineK;
  const cells = ({ label, metrics, intervals }: ModelSummary) => {
    const hr = intervals.hr[k];
    const ndcg = intervals.ndcg[k];
    return [
      label,
      `${rate(metrics.hr[k] ?? 0)} ${hr ? interval(hr) : ''}`,
      `${rate(metrics.ndcg[k] ?? 0)} ${ndcg ? interval(ndcg) : ''}`,
      metrics.existingTitles === undefined ? '' : percent(metrics.existingTitles),
    ];
  };
  const rows = [
    ['model', `HR@${k}`, `NDCG@${k}`, 'answers that are titles'],
    ['---', '---', '---', '---'],
    ...run.models.map(cells),
    ['chance', rate(run.chance.hr[k] ?? 0), rate(run.chance.ndcg[k] ?? 0), ''],
  ];
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function comparisons(run: RunSummary): string {
  const lines = run.comparisons
    .filter(({ first, second }) => first === 'soft' && second !== 'zeroShot')
    .map(
      ({ first, second, kind, k, difference }) =>
        `- ${MODEL_LABELS[first]} against ${MODEL_LABELS[second]}, ${kind.toUpperCase()}@${k}: ${signed(difference.mean)} (${signed(difference.low)} to ${signed(difference.high)}), ${verdict(difference)}.`,
    );
  return lines.join('\n');
}

function limits(run: RunSummary): string {
  const own = run.findings.filter(({ kind }) => kind !== 'result').map(({ text }) => `- ${escapeMarkdown(text)}`);
  return [
    ...own,
    '- It knows the titles of its catalogue at training time; a new title can be reached only by its text.',
    '- Popular titles are answered more often than rare ones; look at the report before showing answers to people.',
  ].join('\n');
}

function modelSource(source: object): Source {
  const [kind, value] = Object.entries(source)[0] ?? ['unknown', ''];
  const known = MODELS[String(value)];
  if (known) return known;
  const licence = 'as its publisher states; softflow does not know it';
  if (kind === 'hub') return { name: String(value), licence, id: String(value) };
  return { name: `a ${kind === 'gguf' ? 'GGUF file' : 'local folder'}`, licence };
}

function dataSource(source: object): Source {
  const [kind, value] = Object.entries(source)[0] ?? ['unknown', ''];
  const known = DATA[String(value)];
  if (known) return known;
  if (kind === 'planted')
    return { name: "softflow's own generated catalogue of series", licence: 'generated, free of third-party terms' };
  return { name: `own data (${kind})`, licence: 'as their owner states' };
}

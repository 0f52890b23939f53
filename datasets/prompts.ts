import { SoftflowError } from '../errors.ts';

/** Words and frame of the prompt; the same shape as `prompt` in the run config. */
export interface PromptParams {
  noun: string;
  nounSingular: string;
  verb: string;
  /** A frame of one's own with `{noun}`, `{nounSingular}`, `{verb}` and `{history}`. */
  template?: string;
  maxTokens: number;
  truncate: 'left' | 'right';
}

/** A prompt that respects `maxTokens`. */
export interface FittedPrompt {
  prompt: string;
  /** How many of the oldest history items were left out. */
  dropped: number;
  /** True when the caller still has to cut the token ids at their end, to `maxTokens` (`truncate: right` only). */
  cutRight: boolean;
}

/** The frame of the method; its first paragraph ends in a space, its last line in a newline. */
const FRAME = [
  'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request. ',
  '',
  '### Instruction:',
  'Given a list of {noun} the user has {verb} before, please recommend a new {nounSingular} that the user likes to the user.',
  '',
  '### Input:',
  'The user has {verb} the following {noun} before: {history}',
  '',
  '### Response:',
  '',
].join('\n');

/**
 * The prompt of one history.
 *
 * Titles are untrusted text: whatever they hold, they stay on the frame's own line (see `plainText`), and braces in
 * them are never filled in.
 *
 * @param historyTitles oldest first
 * @throws SoftflowError `PROMPT_TEMPLATE` when the template lacks `{history}` or names an unknown word
 */
export function renderPrompt(historyTitles: readonly string[], params: PromptParams): string {
  const words: Record<string, string> = {
    noun: params.noun,
    nounSingular: params.nounSingular,
    verb: params.verb,
    history: historyTitles.map(renderTarget).join(', '),
  };
  const template = params.template ?? FRAME;
  if (!template.includes('{history}'))
    throw new SoftflowError('PROMPT_TEMPLATE', 'Expected `prompt.template` to hold {history}, which it does not');
  return template.replace(/\{([A-Za-z]+)\}/g, (_, name: string) => {
    if (Object.hasOwn(words, name)) return words[name] as string;
    throw new SoftflowError(
      'PROMPT_TEMPLATE',
      `Expected {${Object.keys(words).join('}, {')}} in \`prompt.template\`, got {${name}}`,
    );
  });
}

/** The response to learn: the title in quotes. The end-of-sequence token is the caller's to add. */
export function renderTarget(title: string): string {
  return `"${plainText(title)}"`;
}

/**
 * The prompt within `params.maxTokens`. `truncate: left` leaves out the oldest items, and cuts the end of the last
 * title when even that one is too long; `truncate: right` keeps all and tells the caller to cut.
 *
 * @param countTokens number of tokens of a text as the model will see it
 * @throws SoftflowError `PROMPT_TOO_LONG` when the frame alone exceeds `maxTokens`
 */
export function fitPrompt(
  historyTitles: readonly string[],
  params: PromptParams,
  countTokens: (text: string) => number,
): FittedPrompt {
  const fits = (prompt: string) => countTokens(prompt) <= params.maxTokens;
  const whole = renderPrompt(historyTitles, params);
  if (fits(whole)) return { prompt: whole, dropped: 0, cutRight: false };
  if (params.truncate === 'right') return { prompt: whole, dropped: 0, cutRight: true };
  for (let dropped = 1; dropped < historyTitles.length; dropped++) {
    const prompt = renderPrompt(historyTitles.slice(dropped), params);
    if (fits(prompt)) return { prompt, dropped, cutRight: false };
  }
  return {
    prompt: cutTitle(historyTitles.at(-1) ?? '', params, fits),
    dropped: historyTitles.length - 1,
    cutRight: false,
  };
}

/** The prompt of one title, of which as many characters stay as fit. */
function cutTitle(title: string, params: PromptParams, fits: (prompt: string) => boolean): string {
  const characters = Array.from(title);
  const render = (length: number) => renderPrompt([characters.slice(0, length).join('')], params);
  let [low, high] = [0, characters.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(render(middle))) low = middle;
    else high = middle - 1;
  }
  if (low === 0)
    throw new SoftflowError(
      'PROMPT_TOO_LONG',
      `Expected \`prompt.maxTokens\` to hold the frame, got ${params.maxTokens}`,
    );
  return render(low);
}

/**
 * Text that stays on its line: every control character and every Unicode line or paragraph separator becomes a space,
 * and lone surrogates, which no encoder keeps, the replacement character. Quotes and everything else stay.
 */
export function plainText(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, ' ').replace(/\p{Cs}/gu, '\ufffd');
}

/** Generated text or a title without the quotes and white space around it; what grounding embeds and `exists` compares. */
export function stripTitle(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isQuoteOrSpace(text[start] as string)) start++;
  while (end > start && isQuoteOrSpace(text[end - 1] as string)) end--;
  return text.slice(start, end);
}

function isQuoteOrSpace(character: string): boolean {
  return character === '"' || character.trim() === '';
}

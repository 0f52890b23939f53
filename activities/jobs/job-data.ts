import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import type { Store } from '../../artifacts/store.ts';
import { fitPrompt, renderTarget, stripTitle } from '../../datasets/prompts.ts';
import type { ItemRow, WindowRow } from '../../datasets/schemas.ts';
import { SoftflowError } from '../../errors.ts';
import { type AdapterParameters, type Lora, type LoraConfig, uploadAdapter } from '../../model/lora.ts';
import type { ModelConfig } from '../../model/model-config.ts';
import { commonPrefixLength } from '../../model/packing.ts';
import { decodeSafetensors } from '../../model/safetensors.ts';
import type { Tokenizer } from '../../model/tokenizer.ts';
import type { PromptParams, StepInput } from '../contracts.ts';

/** An input that the step cannot do without. */
export async function readInput(store: Store, { inputs, step }: StepInput<unknown>, name: string): Promise<Uint8Array> {
  const ref: ArtifactRef | undefined = inputs[name];
  if (ref === undefined)
    throw new SoftflowError(
      'STEP_INPUT_MISSING',
      `Expected input \`${name}\` of ${step}, got ${Object.keys(inputs).join(', ')}`,
    );
  return store.getBytes(ref);
}

/** Token ids of each window's prompt, at most `prompt.maxTokens` of them. */
export function encodePrompts(
  windows: readonly WindowRow[],
  items: readonly ItemRow[],
  tokenizer: Tokenizer,
  prompt: PromptParams,
): number[][] {
  return windows.map((window) => {
    const titles = window.history.map((item) => titleOf(items, item));
    let last = { text: '', ids: [] as number[] };
    const encode = (text: string) => {
      if (text !== last.text) last = { text, ids: encodePrompt(tokenizer, text) };
      return last.ids;
    };
    const fitted = fitPrompt(titles, prompt, (text) => encode(text).length);
    const ids = encode(fitted.prompt);
    return fitted.cutRight ? ids.slice(0, prompt.maxTokens) : ids;
  });
}

function titleOf(items: readonly ItemRow[], item: number): string {
  const row = items[item];
  if (row === undefined)
    throw new SoftflowError('TABLE_INVALID', `Expected an item below ${items.length}, got ${item}`);
  return row.title;
}

/** With the model's own rule for a beginning token. */
function encodePrompt(tokenizer: Tokenizer, text: string): number[] {
  const ids = tokenizer.encode(text);
  return tokenizer.addBos && tokenizer.bosTokenId !== undefined ? [tokenizer.bosTokenId, ...ids] : ids;
}

/** Token ids of a response: the title in quotes and the end token. */
export function encodeTarget(items: readonly ItemRow[], item: number, tokenizer: Tokenizer): number[] {
  return [...tokenizer.encode(renderTarget(titleOf(items, item))), tokenizer.eosTokenId];
}

/** Token ids of a text to embed; the end token stands for an empty one. */
export function encodeForEmbedding(text: string, tokenizer: Tokenizer): number[] {
  const ids = encodePrompt(tokenizer, stripTitle(text));
  return ids.length > 0 ? ids : [tokenizer.eosTokenId];
}

/** Length of the prefix that all prompts share; every prompt keeps one token of its own or more. */
export function sharedPrefix(prompts: readonly ArrayLike<number>[]): number {
  const shortest = prompts.reduce((least, prompt) => Math.min(least, prompt.length), Number.POSITIVE_INFINITY);
  return commonPrefixLength(prompts, shortest - 1);
}

/** Reads an adapter artifact (safetensors, PEFT's names). */
export async function readAdapter(store: Store, ref: ArtifactRef): Promise<AdapterParameters> {
  const { tensors } = await decodeSafetensors(await store.getBytes(ref));
  return new Map(
    [...tensors]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { shape, data }]) => [
        name,
        { shape: [shape[0] as number, shape[1] as number], data: data as Float32Array },
      ]),
  );
}

/** The adapter of a step's inputs on the device; undefined for the base model. */
export async function uploadInputAdapter(
  store: Store,
  input: StepInput<{ lora: LoraConfig }>,
  config: ModelConfig,
): Promise<Lora | undefined> {
  const ref = input.inputs['adapter'];
  return ref && uploadAdapter(config, input.params.lora, await readAdapter(store, ref));
}

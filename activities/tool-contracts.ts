import type { GenerationParams, LoraParams, PromptParams, TensorParams } from './contracts.ts';

/**
 * inputs: `windows` (histories; targets are not read), `items`, `titles`, `embeddings`, `adapter`; outputs:
 * `recommendations`.
 */
export interface RecommendParams extends TensorParams {
  prompt: PromptParams;
  lora: LoraParams;
  generation: GenerationParams;
  /** Titles a history. */
  k: number;
  /** Leaves out the titles of the history itself. */
  excludeHistory: boolean;
}
/** inputs: `adapter`, `windows`, `items` (real prompts to verify on); writes a model folder and has no outputs. */
export interface MergeAdapterParams extends TensorParams {
  prompt: PromptParams;
  lora: LoraParams;
  /** An empty folder to write into. */
  folder: string;
  /** How many prompts the written model is compared on; 0 leaves the comparison out. */
  verifyPrompts: number;
}
export interface MergeAdapterResult {
  /** Bytes of weights that were written. */
  weightBytes: number;
  verified?: MergeVerification;
}
export interface MergeVerification {
  prompts: number;
  /** Largest difference between a logit of the merged model and of base + adapter. */
  maxLogitDifference: number;
  /** Largest logit in size, to judge the difference by. */
  maxLogit: number;
}

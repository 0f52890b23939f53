import { SoftflowError } from '../../errors.ts';
import { type BaseModel, loadBaseModel } from '../../model/base-model.ts';
import type { Kernels } from '../../model/kernels.ts';
import { openTokenizer, type Tokenizer } from '../../model/tokenizer.ts';
import { openWeights } from '../../model/weights.ts';
import type { ModelFiles, Precision, TensorParams } from '../contracts.ts';
import type { JobContext } from '../trainer-protocol.ts';

export interface LoadedModel {
  model: BaseModel;
  tokenizer: Tokenizer;
}

/** Keeps the base model and its tokenizer on the device from job to job, so that nothing is loaded twice. */
export class TensorSession {
  private readonly kernelsFor: (precision: Precision) => Kernels;
  private loaded: { key: string; value: LoadedModel } | undefined;

  constructor(kernelsFor: (precision: Precision) => Kernels) {
    this.kernelsFor = kernelsFor;
  }

  /** @throws SoftflowError `MODEL_CHANGED` when the files are not those that the run was planned with */
  async load({ model: ref, precision }: TensorParams, context: JobContext): Promise<LoadedModel> {
    const key = `${ref.digest}/${precision}`;
    if (this.loaded?.key === key) return this.loaded.value;
    this.unload();
    const location = await context.modelFiles(ref.source);
    const files = await openWeights(location);
    if (files.digest !== ref.digest)
      throw new SoftflowError(
        'MODEL_CHANGED',
        `The model's files are not those that the run began with. Expected digest ${ref.digest}, received ${files.digest}. Restore them, or start a new run.`,
        { details: { expected: ref.digest, received: files.digest } },
      );
    const tokenizer = await openTokenizer(location, files.config);
    const model = await loadBaseModel(files, this.kernelsFor(precision));
    this.loaded = { key, value: { model, tokenizer } };
    return this.loaded.value;
  }

  /** A model of another folder, which is not kept; the caller disposes. */
  async open(location: ModelFiles, precision: Precision): Promise<LoadedModel> {
    const files = await openWeights(location);
    const tokenizer = await openTokenizer(location, files.config);
    return { model: await loadBaseModel(files, this.kernelsFor(precision)), tokenizer };
  }

  /** Gives the device's memory back. */
  unload(): void {
    this.loaded?.value.model.dispose();
    this.loaded = undefined;
  }
}

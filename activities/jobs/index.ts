import { kernelsFor } from '../../model/kernel-sets.ts';
import type { Kernels } from '../../model/kernels.ts';
import type { Precision, StepInput } from '../contracts.ts';
import type { Job, Jobs } from '../trainer-protocol.ts';
import { encodeTitles } from './encode-titles.ts';
import { evaluate } from './evaluate.ts';
import { measureDistance } from './measure-distance.ts';
import { mergeAdapter } from './merge-adapter.ts';
import { recommend } from './recommend.ts';
import { selfDistill } from './self-distill.ts';
import { TensorSession } from './tensor-session.ts';
import { trainEpoch } from './train-epoch.ts';

function createJobs(kernelsFor: (precision: Precision) => Kernels): Jobs {
  const session = new TensorSession(kernelsFor);
  const job =
    <Params>(
      body: (session: TensorSession, input: StepInput<Params>, context: Parameters<Job>[1]) => ReturnType<Job>,
    ): Job =>
    (input, context) =>
      body(session, input as StepInput<Params>, context);
  return {
    encodeTitles: job(encodeTitles),
    trainEpoch: job(trainEpoch),
    selfDistill: job(selfDistill),
    measureDistance: job(measureDistance),
    evaluate: job(evaluate),
    recommend: job(recommend),
    mergeAdapter: job(mergeAdapter),
  };
}

/** The job bodies of the tensor steps and tools; only the trainer process loads them. */
export const JOBS: Jobs = createJobs(kernelsFor);

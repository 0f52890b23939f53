import type { LineageStep, ReleaseParams, Sources } from '../activities/contracts.ts';
import type { SoftState } from './run-state.ts';
import { rankCutoffs, settingsOfResults } from './step-params.ts';
import { chosenEpoch, type RunSoFar, validationOf } from './training-stage.ts';

/** What the release of a run rests on, once both training stages and the tests are done. */
export function releaseParams(run: RunSoFar, sources: Sources): ReleaseParams {
  const { config, state } = run;
  return {
    config: settingsOfResults(config),
    sources: { model: sources.model, data: { digest: sources.data.digest } },
    steps: lineageSteps(state),
    chosen: { sft: chosenEpoch(run, 'sft').epoch, soft: chosenEpoch(run, 'curriculum').epoch },
    ks: rankCutoffs(config),
    curriculum: state.curriculum.rows.map((row) => ({
      epoch: row.epoch,
      lambda: row.lambda,
      distance: row.distance as number,
      distanceAfter: row.distanceAfter as number,
      trainLoss: row.trainLoss,
      validation: validationOf(run, row),
    })),
  };
}

function lineageSteps({ steps }: SoftState): LineageStep[] {
  return steps.flatMap(({ id, label, step, key }) =>
    key === undefined || step === 'release' || step === 'renderReport' ? [] : [{ id, label, step, key }],
  );
}

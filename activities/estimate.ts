import { type Calibration, type Cost, costOf } from '../model/cost.ts';
import type { StepName } from './contracts.ts';

/** What a run will work on, in rows and tokens, and what a unit of that costs on this machine. */
export interface RunFigures {
  layers: number;
  rows: { titles: number; train: number; valid: number; test: number };
  /** New tokens until a prompt's beams are done: of the base model, which rambles, and of a tuned one. */
  newTokens: { base: number; tuned: number };
  /** Rows that the calibration's units have; costs are scaled by them. */
  units: { microBatch: number; tile: number; titles: number };
  calibration: Calibration;
  /** Resident bytes of the trainer at its peak in each kind of step. */
  peakBytes: { encode: number; train: number; generate: number };
  /** Of preparing the data, where it had to be done to know the rest. */
  prepare?: { seconds: number; peakBytes: number };
}

export interface StepToEstimate {
  id: string;
  step: StepName;
  /** Whether both y and y-hat are trained. */
  both: boolean;
  /** How many rows the recipe asks for at most, where the step takes the first of a table. */
  limit?: number;
}

export interface StepEstimate {
  rows?: number;
  seconds?: number;
  peakBytes?: number;
}

/** The optimiser on the host, checkpoints and heartbeats, beside the passes themselves. */
const TRAINING_OVERHEAD = 1.03;
/** Steps that only read and write tables. */
const LIGHT_SECONDS = 0.5;

/** Time, rows and memory of one step that is run from its beginning. */
export function estimateStep(step: StepToEstimate, figures: RunFigures): StepEstimate {
  const { rows, peakBytes, units, calibration } = figures;
  const cost = (unit: Cost) => costOf(unit, figures.layers);
  switch (step.step) {
    case 'prepareData':
      return { ...figures.prepare };
    case 'encodeTitles':
      return {
        rows: rows.titles,
        seconds: (rows.titles / units.titles) * cost(calibration.embed),
        peakBytes: peakBytes.encode,
      };
    case 'trainEpoch': {
      const pass = cost(step.both ? calibration.trainBoth : calibration.trainOne);
      const seconds = (rows.train / units.microBatch) * pass * TRAINING_OVERHEAD;
      return { rows: rows.train, seconds, peakBytes: peakBytes.train };
    }
    case 'selfDistill':
    case 'measureDistance':
    case 'evaluate': {
      const count = Math.min(rowsOf(step, rows), step.limit ?? Number.POSITIVE_INFINITY);
      return { rows: count, seconds: generationSeconds(step, count, figures), peakBytes: peakBytes.generate };
    }
    case 'evaluatePopularity':
      return { rows: rows.test, seconds: LIGHT_SECONDS };
    default:
      return { seconds: LIGHT_SECONDS };
  }
}

function rowsOf({ id, step }: StepToEstimate, rows: RunFigures['rows']): number {
  if (step !== 'evaluate') return rows.train;
  return id.startsWith('test-') ? rows.test : rows.valid;
}

/** Prompts are read once, then every step feeds one token of each beam; answers are embedded where they are compared. */
function generationSeconds({ id, step }: StepToEstimate, count: number, figures: RunFigures): number {
  const { layers, newTokens, units, calibration } = figures;
  const ofBaseModel = id === 'soft-0-distance' || id === 'test-zeroShot';
  // The first new token comes from the reading itself.
  const steps = (ofBaseModel ? newTokens.base : newTokens.tuned) - 1;
  const tile = costOf(calibration.read, layers) + steps * costOf(calibration.decode, layers);
  const embed = step === 'selfDistill' ? 0 : (count / units.titles) * costOf(calibration.embed, layers);
  return (count / units.tile) * tile + embed;
}

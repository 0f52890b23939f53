import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { DriftReport, Sources } from './contracts.ts';
import type { Notification, NotifyInput } from './notify.ts';

export type { Notification, NotifyInput };

/** What a retrain needs to know of the release that is current. */
export interface ChampionData {
  release: string;
  adapter: ArtifactRef;
  sources: Sources;
  /** Whether its adapter has the LoRA settings of the recipe. */
  sameLora: boolean;
  /** What it was trained on: dataset card and items. */
  card: ArtifactRef;
  items: ArtifactRef;
  /** Of its training windows; null for a run without a cut-off. */
  windowsDigest: string | null;
  /** RFC 3339: the last moment from which it has learnt. */
  trainedUntil: string;
  /** Whether the recipe is still the one that it was trained by, but for cut-offs and start adapter. */
  sameSettings: boolean;
}

/** Two prepared data sets by their card and items, and how far they may be apart. */
export interface DriftInput {
  champion: { card: ArtifactRef; items: ArtifactRef };
  fresh: { card: ArtifactRef; items: ArtifactRef };
  limits: {
    maxUsersDrop: number;
    maxItemsDrop: number;
    maxInteractionsDrop: number;
    maxUnseenItems: number;
    maxRepeatedTitles: number;
  };
}

/** Activities of a retrain on the light queue. */
export interface RetrainActivities {
  recordRetrain(record: { runId: string; status: unknown }): Promise<void>;
}

/** Activities of a retrain on the cpu queue: they read tables, or reach outside. */
export interface LongRetrainActivities {
  /** @returns null before the first promotion */
  readChampion(input: { settings: Record<string, unknown> }): Promise<ChampionData | null>;
  checkDrift(input: DriftInput): Promise<DriftReport>;
  notify(input: NotifyInput): Promise<void>;
}

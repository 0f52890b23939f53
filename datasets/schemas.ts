import { Bool, Field, FixedSizeList, Float32, Float64, Int32, Int64, List, Schema, Utf8 } from 'apache-arrow';

const utf8 = (name: string) => new Field(name, new Utf8(), false);
const int32 = (name: string) => new Field(name, new Int32(), false);
const int64 = (name: string) => new Field(name, new Int64(), false);
const float64 = (name: string) => new Field(name, new Float64(), false);
const bool = (name: string) => new Field(name, new Bool(), false);
const list = (name: string, child: Field) => new Field(name, new List(child), false);

/** Every table that crosses a step's border: one exported constant a table. The key is the schema's name in an ArtifactRef. */
export const SCHEMAS = {
  /** Interactions kept after cleaning and k-core, in the order (time, source row). `item` is the row of `items`. */
  interactions: new Schema([utf8('userId'), int32('item'), float64('rating'), int64('timeMs'), int64('sourceRow')]),
  /** Items in UTF-8 byte order of their raw id; row = item index. `titleRow` is the row of `titles`. */
  items: new Schema([utf8('itemId'), utf8('title'), int32('titleRow')]),
  /**
   * The title table (the catalogue that is ranked): distinct trimmed titles in order of their first item.
   * `popularity` = how often the title's items are the target of a train window before sampling.
   */
  titles: new Schema([utf8('title'), int32('firstItem'), int32('popularity')]),
  /** Sampled windows in sampling order. `windowId` = `<userId>:<targetIndex>`; `history` oldest first, item indices. */
  windows: new Schema([
    utf8('windowId'),
    utf8('userId'),
    int32('targetIndex'),
    list('history', int32('item')),
    int32('target'),
    int64('targetTimeMs'),
  ]),
  /** Self-distilled answers, in the order of the train windows; beams best first, scores are length-normalised log-probabilities. */
  distilled: new Schema([
    utf8('windowId'),
    utf8('text'),
    list('tokenIds', int32('id')),
    float64('logProbability'),
    list('beamTexts', utf8('text')),
    list('beamScores', float64('score')),
  ]),
  /** Distance of each measured prompt's generated title to its true title. */
  distances: new Schema([utf8('windowId'), utf8('text'), float64('distance')]),
  /** Predictions of one evaluation; `rank` is 1-based over the title table, `nearest` a row of it. */
  predictions: new Schema([
    utf8('windowId'),
    int32('targetRow'),
    utf8('text'),
    int32('rank'),
    float64('distance'),
    int32('nearest'),
    bool('exists'),
    bool('valid'),
  ]),
  /** The nearest titles to the answer of each history, nearest first; in the order of the histories. */
  recommendations: new Schema([
    utf8('windowId'),
    utf8('text'),
    list('titleRows', int32('row')),
    list('distances', float64('distance')),
  ]),
  /** One row a curriculum epoch (see ARCHITECTURE.md, "A run as data"). */
  curriculum: new Schema([
    int32('epoch'),
    float64('lambda'),
    float64('distance'),
    float64('distanceAfter'),
    float64('trainLoss'),
    float64('validation'),
  ]),
} as const;

export type SchemaName = keyof typeof SCHEMAS | 'embeddings';

/** Title embeddings of size `d`, in the order of the title table. */
export function embeddingsSchema(d: number): Schema {
  return new Schema([
    int32('titleRow'),
    new Field('embedding', new FixedSizeList(d, new Field('value', new Float32(), false)), false),
  ]);
}

export interface ItemRow {
  itemId: string;
  title: string;
  titleRow: number;
}
export interface TitleRow {
  title: string;
  firstItem: number;
  popularity: number;
}
export interface WindowRow {
  windowId: string;
  userId: string;
  targetIndex: number;
  history: number[];
  target: number;
  targetTimeMs: bigint;
}
export interface DistilledRow {
  windowId: string;
  text: string;
  tokenIds: number[];
  logProbability: number;
  beamTexts: string[];
  beamScores: number[];
}
export interface DistanceRow {
  windowId: string;
  text: string;
  distance: number;
}
export interface PredictionRow {
  windowId: string;
  targetRow: number;
  text: string;
  rank: number;
  distance: number;
  nearest: number;
  exists: boolean;
  valid: boolean;
}
export interface RecommendationRow {
  windowId: string;
  text: string;
  titleRows: number[];
  distances: number[];
}
/** One row of the curriculum table; `validation` is the metric that early stop looks at. */
export interface CurriculumRow {
  epoch: number;
  lambda: number;
  distance: number;
  distanceAfter: number;
  trainLoss: number;
  validation: number;
}

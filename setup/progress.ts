/** One step of set-up as it happens. `bytes` and `totalBytes` are of the phase; a notice is a text a person should read. */
export interface SetupProgress {
  /** What is being set up: `tensorflow`, `temporal`, `model` or `data`. */
  item: string;
  phase: 'download' | 'verify' | 'unpack' | 'compile' | 'notice' | 'ready';
  /** Bytes done; of a `compile` phase, files done. */
  bytes?: number;
  totalBytes?: number;
  message?: string;
}

export type OnProgress = (progress: SetupProgress) => void;

/** Progress as plain lines, one each time an item enters a phase, for logs and pipes. What is there already stays silent. */
export function plainReporter(writeLine: (line: string) => void): OnProgress {
  const phases = new Map<string, string>();
  return ({ item, phase, totalBytes, message }) => {
    const before = phases.get(item);
    if (before === phase || (phase === 'ready' && before === undefined)) return;
    phases.set(item, phase);
    const size = phase === 'download' && totalBytes ? ` (${Math.ceil(totalBytes / 1e6)} MB)` : '';
    const text = phase === 'notice' || phase === 'ready' ? message : undefined;
    writeLine(`${item}: ${phase}${size}${text ? `: ${text}` : ''}`);
  };
}

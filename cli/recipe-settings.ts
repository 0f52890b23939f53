import { isNode, parseDocument } from 'yaml';
import { RunConfigSchema } from '../workflows/run-config.ts';
import { faultsOf } from './config-faults.ts';
import { invalid } from './config-file.ts';
import { applyOverrides, onOnePath, parseOverrides, typedValue } from './config-overrides.ts';
import { schemaAt } from './config-schema.ts';

/**
 * A recipe's text with `-s key=value` written into it, comments kept.
 * @throws SoftflowError `CONFIG_INVALID` with every fault of the options
 */
export function withSettings(text: string, options: readonly string[]): string {
  if (options.length === 0) return text;
  const document = parseDocument(text);
  const { overrides, faults } = parseOverrides(options);
  const applied = applyOverrides(document.toJS(), overrides);
  const { error } = RunConfigSchema.safeParse(applied.config);
  const refused = faultsOf(error?.issues ?? [], applied.config).flatMap(({ path, message }) => {
    const option = overrides.findLast((override) => onOnePath(override.path, path))?.option;
    return option === undefined ? [] : [{ option, message }];
  });
  const lines = [...faults, ...applied.faults, ...refused].map(({ option, message }) => `-s ${option}: ${message}`);
  if (lines.length > 0) throw invalid(lines);
  for (const { path, raw } of overrides) {
    const before = document.getIn(path, true);
    const node = document.createNode(typedValue(raw, schemaAt(path)), { flow: true });
    if (isNode(before)) node.comment = before.comment;
    document.setIn(path, node);
  }
  return document.toString({ lineWidth: 120 });
}

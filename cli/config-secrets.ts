import type { ConfigPath } from './config-schema.ts';

const ENV_NAME = /^[A-Z_][A-Z0-9_]*$/;

/** A field that holds the NAME of an environment variable, whose value is a secret. People paste the secret itself. */
export const namesSecret = (path: ConfigPath): boolean => /Env$/.test(String(path.at(-1)));

/** What is wrong with the value of such a field, without the value; undefined when nothing is. */
export function secretNameFault(value: string): string | undefined {
  if (ENV_NAME.test(value)) return undefined;
  return 'expected the NAME of an environment variable such as HF_TOKEN, never the token itself';
}

/** An option of the command line as it may be printed: what may be a secret stays out. */
export function shownOption(option: string): string {
  const mayBeSecret = /(?:env|token|secret|password|key|url)\s*["']?\s*[=:]/i.test(option);
  return mayBeSecret ? `${option.slice(0, option.indexOf('=') + 1)}...` : option;
}

import { spawn } from 'node:child_process';
import { SoftflowError } from '../errors.ts';

/** What a retrain tells the world; the body of the webhook and the input of the command, as one line of JSON. */
export interface Notification {
  event: 'failed' | 'promoted' | 'kept' | 'waiting';
  /** In a sentence. */
  text: string;
  schedule: string | null;
  workflowId: string;
  runId: string;
  /** RFC 3339. */
  asOf: string;
  champion: string | null;
  challenger: string | null;
  error: { code: string; message: string } | null;
}

export interface NotifyInput {
  notification: Notification;
  webhook?: { urlEnv: string };
  command?: string[];
}

/** Whoever may start a workflow could otherwise start programs on the worker's machine. */
const COMMANDS_ALLOWED = 'SOFTFLOW_NOTIFY_COMMANDS';
const TIMEOUT_MS = 30_000;

/** @throws SoftflowError `NOTIFY_REFUSED`, `NOTIFY_FAILED` (retryable); neither names the URL, which may be a secret */
export async function notify(
  { notification, webhook, command }: NotifyInput,
  env: Record<string, string | undefined> = process.env,
): Promise<void> {
  const body = `${JSON.stringify(notification)}\n`;
  if (webhook) await post(requireUrl(webhook.urlEnv, env), webhook.urlEnv, body);
  if (command) await run(requireAllowed(command, env), body);
}

function requireUrl(name: string, env: Record<string, string | undefined>): URL {
  const url = URL.canParse(env[name] ?? '') ? new URL(env[name] ?? '') : undefined;
  if (url && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw new SoftflowError(
    'NOTIFY_REFUSED',
    `Expected an http or https URL in the environment variable ${name}, found ${env[name] ? 'something else' : 'nothing'}. ` +
      'Set it where the worker of the cpu queue runs.',
    { details: { variable: name } },
  );
}

async function post(url: URL, name: string, body: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const request = {
    method: 'POST',
    body,
    headers,
    redirect: 'error' as const,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  };
  const response = await fetch(url, request).catch((error: Error) => {
    // The cause of a failed fetch names the host, its message does not.
    throw failed(
      `The webhook of ${name} cannot be reached: ${error.name === 'TimeoutError' ? 'no answer in time' : error.message}`,
    );
  });
  await response.body?.cancel();
  if (!response.ok) throw failed(`The webhook of ${name} answered ${response.status}`);
}

function requireAllowed(command: string[], env: Record<string, string | undefined>): string[] {
  if (['1', 'true'].includes(env[COMMANDS_ALLOWED] ?? '')) return command;
  throw new SoftflowError(
    'NOTIFY_REFUSED',
    `notify.command needs ${COMMANDS_ALLOWED}=1 where the worker of the cpu queue runs: it lets whoever may start a workflow start programs there.`,
  );
}

async function run([program, ...args]: string[], input: string): Promise<void> {
  const child = spawn(program as string, args, { stdio: ['pipe', 'ignore', 'ignore'], timeout: TIMEOUT_MS });
  const ended = new Promise<string>((resolve) => {
    child.once('error', ({ message }) => resolve(message));
    child.once('exit', (code, signal) => resolve(code === 0 ? '' : `it ended with ${signal ?? `exit code ${code}`}`));
  });
  // A program that does not read its input closes it early, which is its right.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const fault = await ended;
  if (fault) throw failed(`The command ${program} failed: ${fault}`);
}

function failed(what: string): SoftflowError {
  return new SoftflowError(
    'NOTIFY_FAILED',
    `${what}. It is tried again a few times; the retrain itself is not affected.`,
    {
      retryable: true,
    },
  );
}

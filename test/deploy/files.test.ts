import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseQueues } from '../../cli/commands/worker.ts';
import { runCli } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';
import { QUEUE_KINDS, queueName } from '../../workflows/task-queues.ts';
import { composeServices, containerfile, MANIFESTS, manifests, ROOT, temporalVersion } from './deploy-files.ts';

const packageJson = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
  files: string[];
};
const UID = /USER (\d+):\1/.exec(containerfile())?.[1];
const services = composeServices();
const workers = Object.entries(services).filter(([name]) => name.startsWith('worker-'));
const deployments = manifests().filter(({ kind }) => kind === 'Deployment');
const containers = deployments.map(({ spec }) => spec.template.spec.containers[0]);

/** Every command of a worker that the files hold. */
function commands(): string[][] {
  const [, byDefault = '[]'] = /^CMD (\[.*\])$/m.exec(containerfile()) ?? [];
  return [JSON.parse(byDefault), ...workers.map(([, { command }]) => command), ...containers.map(({ args }) => args)];
}

test('every worker is started with options that there are, on a port that its probes ask', async () => {
  let help = '';
  const write = (text: string) => {
    help += text;
    return true;
  };
  await runCli(['worker', '--help'], openTerminal({ stdout: { write }, stderr: { write }, env: {} }));
  expect(commands()).toHaveLength(7);
  for (const [name, ...options] of commands()) {
    expect(name).toBe('worker');
    for (const option of options.filter((text) => text.startsWith('--'))) expect(help).toContain(option);
    expect(options.at(options.indexOf('--health-port') + 1)).toBe('8080');
    expect(options.at(options.indexOf('--health-host') + 1)).toBe('0.0.0.0');
  }
  expect(containerfile()).toContain('EXPOSE 8080');
  for (const [, { healthcheck }] of workers) expect(healthcheck?.test.join(' ')).toContain('127.0.0.1:8080/readyz');
  for (const { ports, livenessProbe, startupProbe, readinessProbe } of containers) {
    expect(ports).toEqual([{ name: 'health', containerPort: 8080 }]);
    expect([startupProbe, livenessProbe, readinessProbe].map(({ httpGet }) => httpGet)).toEqual([
      { path: '/healthz', port: 'health' },
      { path: '/healthz', port: 'health' },
      { path: '/readyz', port: 'health' },
    ]);
    // A check answers within two seconds.
    expect(readinessProbe.timeoutSeconds).toBeGreaterThan(2);
  }
});

test('each kind of queue has its workers, under compose and under Kubernetes', () => {
  const served = (lists: (string[] | undefined)[]) =>
    lists.flatMap((list = []) => parseQueues(list[list.indexOf('--queues') + 1] as string)).sort();
  const kinds = [...QUEUE_KINDS].sort();
  expect(served(workers.map(([, { command }]) => command))).toEqual(kinds);
  expect(served(containers.map(({ args }) => args))).toEqual(kinds);
  const scaled = manifests().filter(({ kind }) => kind === 'ScaledObject');
  expect(scaled.map(({ spec }) => spec.triggers[0].metadata.taskQueue).sort()).toEqual(
    [queueName('cpu'), queueName('gpu')].sort(),
  );
  const names = deployments.map(({ metadata }) => metadata.name);
  for (const { spec } of scaled) expect(names).toContain(spec.scaleTargetRef.name);
});

test('nobody is root, nothing but the volume and /tmp is written, and a drain has its time', () => {
  expect(Number(UID)).toBeGreaterThan(1000);
  expect(containerfile()).toContain(`--uid ${UID}`);
  for (const [, service] of workers) expect(service).toMatchObject({ user: `${UID}:${UID}`, read_only: true });
  for (const { spec } of deployments) {
    const pod = spec.template.spec;
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: Number(UID), fsGroup: Number(UID) });
    expect(pod.containers[0].securityContext).toMatchObject({
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
    });
    expect(pod.containers[0].volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)).toEqual([
      '/softflow',
      '/tmp',
    ]);
  }
  expect(containerfile()).toContain('WORKDIR /softflow');
  for (const [, { volumes, stop_grace_period }] of workers) {
    expect(volumes).toEqual(['softflow:/softflow']);
    expect(stop_grace_period).toBe('3m');
  }
  const tensor = deployments.find(({ metadata }) => metadata.name === 'softflow-tensor');
  expect(tensor?.spec.template.spec.terminationGracePeriodSeconds).toBe(180);
  expect(tensor?.spec.strategy.rollingUpdate).toEqual({ maxSurge: 0, maxUnavailable: 1 });
});

test('versions are pinned and the same everywhere', () => {
  const images = [...Object.values(services), ...containers].map(({ image }) => image);
  for (const image of images) expect(image).toMatch(/:\d+\.\d+/);
  for (const image of images.filter((name) => name?.startsWith('softflow:')))
    expect(image).toBe(`softflow:${packageJson.version}`);
  expect(services['temporal-schema']?.image).toBe(`temporalio/admin-tools:${temporalVersion()}`);
  expect(services['temporal-namespace']?.image).toBe(`temporalio/admin-tools:${temporalVersion()}`);
  expect(containerfile()).toMatch(/NODE_IMAGE=node:20\.(19|[2-9]\d)\.\d+-bookworm-slim/);
});

test('everything that a worker needs is in the image, and every manifest is applied', () => {
  // What the image copies is what the package holds.
  for (const file of ['bin/softflow.mjs', 'dist', 'recipes', 'setup/native']) expect(packageJson.files).toContain(file);
  const patterns = packageJson.files.filter((file) => file.includes('*') && !file.startsWith('!'));
  expect(patterns.filter((pattern) => !pattern.startsWith('docs/'))).toEqual([]);
  const { resources } = parse(readFileSync(join(MANIFESTS, 'kustomization.yaml'), 'utf8')) as { resources: string[] };
  const left = readdirSync(MANIFESTS).filter((file) => !resources.includes(file) && file !== 'kustomization.yaml');
  expect(left).toEqual(['autoscaling.yaml']);
});

test('variables have the names that softflow and Temporal read, and published ports stay on the machine', () => {
  const config = manifests().find(({ kind }) => kind === 'ConfigMap');
  const set = [...Object.keys(config?.data ?? {}), ...Object.keys(workers[0]?.[1].environment ?? {})];
  expect(new Set(set)).toEqual(new Set(['TEMPORAL_ADDRESS', 'TEMPORAL_NAMESPACE', 'SOFTFLOW_INSECURE']));
  const ports = Object.values(services).flatMap((service) => service.ports ?? []);
  expect(ports.length).toBeGreaterThan(1);
  for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
});

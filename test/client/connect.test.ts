import { expect, test } from 'vitest';
import { configuredTarget, connect, isLoopback } from '../../client/connect.ts';
import { freePort } from '../support/temporal.ts';

test('without any configuration the embedded server is meant', () => {
  expect(configuredTarget({ TEMPORAL_CONFIG_FILE: '/nonexistent/temporal.toml' })).toBeUndefined();
});

test('address, namespace and TLS come from Temporal’s own variables', () => {
  const target = configuredTarget({
    TEMPORAL_CONFIG_FILE: '/nonexistent/temporal.toml',
    TEMPORAL_ADDRESS: 'temporal.example:7233',
    TEMPORAL_NAMESPACE: 'team',
    TEMPORAL_API_KEY: 'secret',
  });
  expect(target).toMatchObject({ address: 'temporal.example:7233', namespace: 'team', tls: true });
});

test('another machine without TLS is refused unless told otherwise', () => {
  const env = { TEMPORAL_CONFIG_FILE: '/nonexistent/temporal.toml', TEMPORAL_ADDRESS: '10.1.2.3:7233' };
  expect(() => configuredTarget(env)).toThrowError(expect.objectContaining({ code: 'TEMPORAL_INSECURE' }));
  expect(configuredTarget({ ...env, SOFTFLOW_INSECURE: '1' })).toMatchObject({ address: '10.1.2.3:7233' });
  expect(configuredTarget({ ...env, TEMPORAL_ADDRESS: '127.0.0.1:7233' })).toMatchObject({ namespace: 'default' });
});

test('only addresses of this machine count as loopback', () => {
  for (const address of ['127.0.0.1:7233', '127.1.2.3:1', 'localhost:7233', '[::1]:7233', '::1'])
    expect([address, isLoopback(address)]).toEqual([address, true]);
  for (const address of [
    '10.0.0.1:7233',
    'localhost.example:7233',
    '127.0.0.1.example:7233',
    '0.0.0.0:7233',
    '[::2]:1',
  ])
    expect([address, isLoopback(address)]).toEqual([address, false]);
});

test('a server that does not answer is named', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  await expect(connect({ address, namespace: 'default' }, '200 ms')).rejects.toMatchObject({
    code: 'TEMPORAL_UNREACHABLE',
    retryable: true,
    message: expect.stringContaining(address),
  });
});

import { hostname, networkInterfaces } from 'node:os';

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];
const EVERYWHERE = ['0.0.0.0', '::'];

/**
 * The Host headers that are answered. A page of another site can have a name of its own resolved to this machine and
 * then read what is served here (DNS rebinding), but its requests carry that name.
 */
export function allowedHosts(address: string, port: number): ReadonlySet<string> {
  const own = EVERYWHERE.includes(address)
    ? [hostname(), ...Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((one) => one.address))]
    : [address];
  const names = [...LOOPBACK, ...own.map((name) => (name.includes(':') ? `[${name}]` : name))];
  return new Set(
    names.flatMap((name) => [`${name}:${port}`, ...(port === 80 ? [name] : [])]).map((name) => name.toLowerCase()),
  );
}

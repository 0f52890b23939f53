import { once } from 'node:events';
import { connect, createSecureServer, type Http2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Certified } from './certificates.ts';

export interface TlsProxyOptions {
  /** `host:port` of a server that speaks gRPC in clear. */
  upstream: string;
  server: Certified;
  /** Clients must show a certificate of this authority. */
  clientCa?: string;
  /** Calls must carry it as `authorization: Bearer <key>`. */
  apiKey?: string;
}

export interface TlsProxy {
  port: number;
  close(): Promise<void>;
}

/** gRPC's number for a caller that is not known. */
const UNAUTHENTICATED = '16';
const ENDS_STREAM = 1;

/** Ends TLS in front of a gRPC server on this machine, as the front of a hosted Temporal does. */
export async function startTlsProxy({ upstream, server, clientCa, apiKey }: TlsProxyOptions): Promise<TlsProxy> {
  const behind = connect(`http://${upstream}`);
  const sessions = new Set<Http2Session>();
  const proxy = createSecureServer({
    ...server,
    ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
  });
  proxy.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session)).on('error', () => {});
  });
  proxy.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    if (apiKey !== undefined && headers.authorization !== `Bearer ${apiKey}`) return refuse(stream);
    const call = behind.request(headers, { endStream: false });
    let trailers = {};
    call.on('error', () => stream.close());
    call.on('trailers', (received) => {
      trailers = received;
    });
    call.on('response', (received, flags) => {
      if (flags & ENDS_STREAM) return stream.respond(received, { endStream: true });
      stream.respond(received, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers(trailers));
      call.pipe(stream);
    });
    stream.pipe(call);
    stream.on('close', () => call.close());
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  return {
    port: (proxy.address() as AddressInfo).port,
    close: async () => {
      for (const session of sessions) session.destroy();
      behind.destroy();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

function refuse(stream: ServerHttp2Stream): void {
  const status = { 'grpc-status': UNAUTHENTICATED, 'grpc-message': 'Request unauthorized.' };
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...status }, { endStream: true });
}

import { fetchSdkMetrics } from '../telemetry/sdk-metrics.ts';
import type { HealthRoutes } from './health-server.ts';

export interface MeasuredWorker {
  /** softflow's own metrics in Prometheus' text format. */
  metrics(): Promise<string>;
}

/**
 * `/metrics`: all metrics of this process in Prometheus' text format, softflow's own and then the SDK's.
 *
 * @param worker undefined while it starts
 */
export function metricsRoute(worker: () => MeasuredWorker | undefined, sdkMetricsPort: number): HealthRoutes {
  return {
    '/metrics': async () => ({
      status: 200,
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      body: ((await worker()?.metrics()) ?? '') + (await fetchSdkMetrics(sdkMetricsPort)),
    }),
  };
}

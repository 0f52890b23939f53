import { ensureAll } from '../../setup/index.ts';
import { ensureChromium } from '../support/chromium.ts';

/**
 * Builds dist/ (worker processes run from it) and fills the cache, also with a browser; without one its tests are
 * skipped. `SOFTFLOW_TEST_SKIP_SETUP=1` leaves it out, for tests of pure code.
 */
export default async function globalSetup(): Promise<void> {
  if (process.env['SOFTFLOW_TEST_SKIP_SETUP'] === '1') return;
  const { buildIfStale } = (await import(new URL('../../bin/build.mjs', import.meta.url).href)) as {
    buildIfStale: () => boolean;
  };
  buildIfStale();
  await ensureAll({ tensorflow: true, temporal: true, model: { registry: 'smollm2-135m-instruct' }, data: 'ml-100k' });
  await ensureChromium().catch((error: Error) => console.log(`browser: ${error.message}; its tests are skipped`));
}

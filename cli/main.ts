import { runCli } from './program.ts';

// A reader that ends early (`softflow list | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

// Exits by itself: an open connection to the server must not keep a finished command alive.
process.exit(await runCli(process.argv.slice(2)));

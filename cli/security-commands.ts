import { Option } from 'commander';
import type { CodecServerCommandOptions } from './commands/codec-server.ts';
import { collect, jsonOption, type Registry } from './register.ts';

/** Commands about encrypted payloads. */
export function registerSecurity({ command, run, terminal }: Registry): void {
  command(
    'codec-server',
    'let the Temporal UI and CLI read encrypted payloads',
    'softflow codec-server --origin http://127.0.0.1:8233',
    'softflow codec-server --port 8471 --token-env CODEC_TOKEN',
    'softflow codec-server --host 10.0.0.5 --token-env CODEC_TOKEN --tls-cert tls.crt --tls-key tls.key',
  )
    .option('--port <port>', 'port to listen on; 0 takes a free one', '8471')
    .option('--host <address>', 'address to listen on; beyond this machine only with token and TLS', '127.0.0.1')
    .addOption(
      new Option(
        '--origin <origin>',
        'a web page that may ask: the address of the Temporal UI; may be given many times',
      )
        .argParser(collect)
        .default([], 'none'),
    )
    .option('--token-env <name>', 'variable with the token that is asked for as "Authorization: Bearer <token>"')
    .option('--tls-cert <file>', 'certificate, PEM')
    .option('--tls-key <file>', 'its key, PEM')
    .addOption(jsonOption())
    .action(
      run(async (options: CodecServerCommandOptions) => {
        const { codecServer } = await import('./commands/codec-server.ts');
        return codecServer(options, terminal);
      }),
    );
}

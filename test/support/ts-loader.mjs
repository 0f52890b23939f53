// Lets child processes of the tests run the TypeScript sources as they are: types are stripped, nothing else changes.
import { register } from 'node:module';

register('./ts-hooks.mjs', import.meta.url);

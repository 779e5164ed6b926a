#!/usr/bin/env node
// The launcher of `temper`: lets Node read TypeScript, whatever folder it is called from, and starts the program.
import { fileURLToPath } from 'node:url';
import { register } from 'tsx/esm/api';

register({ tsconfig: fileURLToPath(new URL('../tsconfig.json', import.meta.url)) });
await import('./temper.ts');

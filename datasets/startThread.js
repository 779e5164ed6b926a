/** Starts `validateThread.ts` in a worker thread: threads do not inherit the loader for TypeScript, so it is registered here. */
import { register } from 'tsx/esm/api';

register();
await import('./validateThread.ts');

/** Where the bundle begins (scripts/build-server.ts); from the sources it is main.ts. */
import { enableCompileCache } from 'node:module';
import path from 'node:path';
import { nameSources } from './stack-traces.ts';

// Keeps what V8 made of the bundle: the next start takes half the processor time. Where this cannot be written, nothing
// is kept. NODE_COMPILE_CACHE wins.
enableCompileCache(path.join(import.meta.dirname, 'cache'));
process.on('uncaughtExceptionMonitor', (error) => {
  if (typeof error?.stack === 'string') error.stack = nameSources(error.stack);
});
await import('./main.ts');

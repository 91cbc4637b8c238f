import type { Seal } from '../auth/secrets.ts';
import type { Database } from '../database/pool.ts';
import type { Engine } from '../engine/engine.ts';
import type { ProviderRegistry } from '../providers/registry.ts';
import type { SshTools } from './ssh-way.ts';

/** What the procedures of servers work with. */
export interface ServerTools {
  db: Database;
  providers: ProviderRegistry;
  seal: Seal;
  ssh: SshTools;
  engine: Pick<Engine, 'record'>;
}

import type { Encryption } from '../access/encryption.ts';
import type { Database } from '../database/pool.ts';
import type { Engine } from '../engine/engine.ts';
import type { ProviderRegistry } from '../providers/registry.ts';
import type { SshTools } from './ssh-way.ts';

/** What the procedures of servers work with. */
export interface ServerTools {
  db: Database;
  providers: ProviderRegistry;
  encryption: Encryption;
  ssh: SshTools;
  engine: Pick<Engine, 'record'>;
}

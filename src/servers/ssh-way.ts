/** The way into servers over SSH, with the key of their workspace. */
import type { Encryption } from '../access/encryption.ts';
import type { Database } from '../database/pool.ts';
import type { EgressPolicy } from '../outbound/egress.ts';
import { type Transport, TransportError } from '../transports/contract.ts';
import type { SshPool } from '../transports/ssh.ts';
import type { SshHop } from '../transports/ssh-connection.ts';
import { workspaceSshKey, workspaceSshKeyToTry } from '../workspaces/ssh-keys.ts';
import { refuseForeignKey } from './foreign-key.ts';
import { pinHostKey, readServerSsh, type ServerSsh } from './ssh-store.ts';

/** Who made a key that was first needed for entering a server. */
const MAKER = 'system';

export interface SshTools {
  db: Database;
  encryption: Encryption;
  egress: EgressPolicy;
  pool: SshPool;
}

/** A machine to enter. */
interface Machine {
  /** Null: it is only looked at, nothing of it is kept. */
  id: string | null;
  workspace: string;
  hostname: string;
  ip_address: string | null;
}

/** @throws TransportError UNREACHABLE where the server has no address yet. */
export async function enterServer(tools: SshTools, server: Machine & { id: string }): Promise<Transport> {
  return enterMachine(tools, server, await readServerSsh(tools.db, server.id));
}

/** As `enterServer`, for a machine that need not be a server yet. `onHostKey` is told the host key that it shows. */
export async function enterMachine(
  { db, encryption, egress, pool }: SshTools,
  { id, workspace, hostname, ip_address: address }: Machine,
  ssh: ServerSsh,
  onHostKey: (hostKey: string) => void = () => {},
): Promise<Transport> {
  if (address === null) throw new TransportError('UNREACHABLE', `${hostname}: it has no address yet.`);
  const keysOf = (which: 'host_key' | 'jump_host_key', tell: (hostKey: string) => void) => ({
    knownKey: async () => {
      const known = id === null ? ssh[which] : (await readServerSsh(db, id))[which];
      if (known !== null) tell(known);
      return known;
    },
    pin: async (seen: string) => {
      tell(seen);
      if (id === null) return seen;
      await refuseForeignKey(db, id, which, seen);
      return pinHostKey(db, id, which, seen);
    },
  });
  const jump: SshHop | null =
    ssh.jump === null
      ? null
      : {
          name: `${hostname}: jump host ${ssh.jump.address}`,
          ...ssh.jump,
          ...keysOf('jump_host_key', () => {}),
        };
  const { privateKey } =
    id === null
      ? await workspaceSshKeyToTry(db, encryption, workspace)
      : await workspaceSshKey(db, encryption, workspace, MAKER);
  return pool.transport(id ?? `${workspace} ${hostname} ${address}`, {
    name: `${hostname} (${address})`,
    address,
    port: ssh.port,
    user: ssh.user,
    ...keysOf('host_key', onHostKey),
    privateKey,
    jump,
    egress: egress('host', workspace),
  });
}

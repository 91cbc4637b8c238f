import { defineProcedure, OperationError, type Procedure, type StepCall } from '../../engine/procedure.ts';
import { fingerprintOf } from '../../transports/keys.ts';
import { EXISTING, IMPORT_QUEUE } from '../existing.ts';
import { adoptServer, isStrangersKey, type ServerSsh } from '../ssh-store.ts';
import { enterMachine, type SshTools } from '../ssh-way.ts';
import { removeServer } from '../store.ts';

interface ImportInput {
  /** Null in check mode. */
  server_id: string | null;
  check_mode: boolean;
  workspace: string;
  hostname: string;
  ip_address: string;
  ssh: ServerSsh;
  /** Workspaces all of whose servers whoever asked may reach; null: of every one. */
  reached_workspaces?: string[] | null;
}

/** What a look at a machine shows. */
interface Facts {
  os: string;
  architecture: string;
  cpus: number;
  memory_mb: number;
  host_key: string;
  host_key_fingerprint: string;
}

/** Somebody waits for the answer: a machine that does not answer now is soon reported. */
const CONNECT_STEP = { deadline: 120, attempts: 3, retryDelay: 1 };
/** Seconds that the look may take. */
const LOOK_SECONDS = 30;
const LOOK = `
set -eu
. /etc/os-release
echo "os=$PRETTY_NAME"
echo "architecture=$(uname -m)"
echo "cpus=$(grep -c ^processor /proc/cpuinfo)"
echo "memory_kb=$(sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)"
`;

/** What it tells. */
const LOOKED_FOR = ['os', 'architecture', 'cpus', 'memory_kb'];
/** Characters kept of each of these. */
const MAX_VALUE = 256;
/** Lines kept of what was wrong. */
const MAX_COMPLAINTS = 5;

/** Adopts a machine that no provider made, once a real connection to it has worked. Writes nothing on it. */
export function importProcedure(tools: SshTools): Procedure {
  return defineProcedure<ImportInput>({
    kind: 'server.import',
    queue: () => IMPORT_QUEUE,
    async run(input, { operationId, ownerId, step, finish }) {
      const facts = await step('connect to the machine', (call) => look(tools, input, ownerId, call), CONNECT_STEP);
      const { server_id: serverId, hostname, ip_address } = input;
      if (serverId === null) {
        const plan = {
          create: [{ type: 'server', workspace: input.workspace, hostname, provider: EXISTING, ip_address }],
          change: [],
          delete: [],
          order: [`adopt ${hostname} as it is; nothing is written on it`],
        };
        return finish(async () => ({ check_mode: true, plan, ...facts }));
      }
      return finish(async (tx) => {
        await adoptServer(tx, serverId, planOf(facts));
        return { server_id: serverId, hostname, ip_address, provider: EXISTING, operation_id: operationId, ...facts };
      });
    },
    async compensate(tx, { server_id: serverId }) {
      // Nothing was made: there is nothing to tidy up.
      if (serverId !== null) await removeServer(tx, serverId);
      return null;
    },
  });
}

async function look(tools: SshTools, input: ImportInput, ownerId: string | null, call: StepCall): Promise<Facts> {
  let hostKey = '';
  const machine = { id: input.server_id, ...input };
  const transport = await enterMachine(tools, machine, input.ssh, (seen) => {
    hostKey = seen;
  });
  const found = new Map<string, string>();
  const complaints: string[] = [];
  try {
    const { exitCode } = await transport.run(LOOK, {
      signal: call.signal,
      timeoutSeconds: LOOK_SECONDS,
      label: 'the first look',
      onLine: ({ stream, text }) => {
        const [name = '', value = ''] = text.split(/=(.*)/s);
        // A machine may say anything, as much as it likes.
        if (stream === 'stdout' && LOOKED_FOR.includes(name)) found.set(name, value.slice(0, MAX_VALUE));
        else if (stream === 'stderr' && complaints.length < MAX_COMPLAINTS) complaints.push(text);
      },
    });
    if (exitCode !== 0) await call.log(`The machine does not say what it is: ${complaints.join(' ')}`);
  } finally {
    await transport.close();
  }
  await refuseStranger(tools, input, ownerId, hostKey);
  return {
    os: found.get('os') ?? 'unknown',
    architecture: found.get('architecture') ?? 'unknown',
    cpus: Number(found.get('cpus') ?? 0),
    memory_mb: Math.round(Number(found.get('memory_kb') ?? 0) / 1_024),
    host_key: hostKey,
    host_key_fingerprint: fingerprintOf(hostKey),
  };
}

/** The machine may be a server already, by another address: then whoever imports it must be one who may reach that. */
async function refuseStranger(
  { db }: SshTools,
  { server_id: serverId, reached_workspaces: reached = null }: ImportInput,
  ownerId: string | null,
  hostKey: string,
): Promise<void> {
  if (!(await isStrangersKey(db, hostKey, { serverId, ownerId, reached }))) return;
  throw new OperationError(
    'MACHINE_KNOWN',
    'The machine has the host key of a server that is already recorded here and that you may not change. Ask an operator.',
  );
}

/** In the words of the neutral plans. */
function planOf({ cpus, memory_mb }: Facts): string {
  return cpus > 0 && memory_mb > 0 ? `${cpus}xCPU-${Math.max(1, Math.round(memory_mb / 1_024))}GB` : 'unknown';
}

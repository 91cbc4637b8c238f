import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { generateSshKey, readHostKey, readSshKey } from '../../src/transports/keys.ts';
import { findProgram, needs, skipped } from './needs.ts';

/** For `skip` of a test: what is missing for a real sshd of its own, as `needs` says it; false where nothing is. */
export function needsSshd(): string | false {
  const missing = needs('sshd', 'ps');
  if (missing !== false) return missing;
  return process.getuid?.() === 0 ? false : skipped('needs root, to run an sshd that lets root in');
}

/** A real sshd on 127.0.0.1 that lets root in with one key. */
export interface TestSshd extends AsyncDisposable {
  port: number;
  /** `ssh-ed25519 AAAA…`. */
  hostKey: string;
  /** Stops it, with every session it has. */
  stop(): Promise<void>;
  /** On the same port again. */
  start(): Promise<void>;
  /** Makes it a new host key, to be seen from the next connection on. */
  changeHostKey(): Promise<void>;
  /** Everything it has logged. */
  log(): string;
}

/** What the machine keeps of services is its own: changes below /etc and /var/lib stay in a mount namespace. */
const APART = `
mount -t tmpfs tmpfs "$0"
for directory in etc var/lib; do
  mkdir -p "$0/$directory" "$0/work/$directory"
  mount -t overlay overlay -o "lowerdir=/$directory,upperdir=$0/$directory,workdir=$0/work/$directory" "/$directory"
done
mkdir -p /run/provisioning
mount -t tmpfs tmpfs /run/provisioning
exec "$@"
`;

/**
 * @param options `apart`: several of them on this machine carry services without knowing of each other. `hostKey`: the
 * private key that it shows; absent: one is made.
 */
export async function startSshd(
  publicKey: string,
  { apart = false, hostKey }: { apart?: boolean; hostKey?: string } = {},
): Promise<TestSshd> {
  const program = findProgram('sshd');
  if (program === null) throw new Error('There is no sshd: ask `needsSshd` before.');
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-sshd-'));
  const file = (name: string) => path.join(directory, name);
  const port = await freePort();
  // Without it sshd refuses to start.
  await mkdir('/run/sshd', { recursive: true });
  const writeHostKey = async (privateKey: string) => {
    await writeFile(file('host_key'), privateKey, { mode: 0o600 });
    const { publicKey: shown } = await readSshKey(privateKey, 'host');
    return readHostKey(shown);
  };
  const makeHostKey = () => writeHostKey(generateSshKey('host').privateKey);
  await mkdir(file('apart'));
  await writeFile(file('authorized_keys'), `${publicKey}\n`);
  await writeFile(
    file('config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${file('host_key')}`,
      `AuthorizedKeysFile ${file('authorized_keys')}`,
      `PidFile ${file('pid')}`,
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      'StrictModes no',
      'UsePAM no',
      'LogLevel VERBOSE',
      '',
    ].join('\n'),
  );
  let output = '';
  let child: ChildProcess | null = null;
  const sshd: TestSshd = {
    port,
    hostKey: await (hostKey === undefined ? makeHostKey() : writeHostKey(hostKey)),
    log: () => output,
    async start() {
      const command = [program, '-D', '-e', '-f', file('config')];
      const [first = program, ...words] = apart
        ? ['unshare', '--mount', 'sh', '-euc', APART, file('apart'), ...command]
        : command;
      const started = spawn(first, words, { stdio: ['ignore', 'ignore', 'pipe'] });
      child = started;
      started.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      await untilListening(port, () => output);
    },
    async stop() {
      if (child === null) return;
      const ended = once(child, 'exit');
      for (const pid of descendants(child.pid ?? 0)) killQuietly(pid);
      child.kill('SIGKILL');
      await ended;
      child = null;
    },
    async changeHostKey() {
      sshd.hostKey = await makeHostKey();
      await sshd.stop();
      await sshd.start();
    },
    async [Symbol.asyncDispose]() {
      await sshd.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
  await sshd.start();
  return sshd;
}

/** The sshd processes of its sessions; what runs in them is left alone. */
function descendants(pid: number): number[] {
  const rows = execFileSync('ps', ['-eo', 'pid=,ppid=,comm='], { encoding: 'utf8' }).trim().split('\n');
  const found = rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, parent, name]) => Number(parent) === pid && name?.startsWith('sshd'));
  return found.flatMap(([child]) => [Number(child), ...descendants(Number(child))]);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

async function untilListening(port: number, log: () => string): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    const socket = net.connect(port, '127.0.0.1');
    const answered = await Promise.race([
      once(socket, 'data').then(() => true),
      once(socket, 'error').then(
        () => false,
        () => false,
      ),
    ]).catch(() => false);
    socket.destroy();
    if (answered) return;
    await delay(50);
  }
  throw new Error(`sshd does not answer on port ${port}:\n${log()}`);
}

async function freePort(): Promise<number> {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { generateSshKey } from '../../src/transports/keys.ts';

const SSHD = '/usr/sbin/sshd';

/** What is missing for a real sshd of the tests' own; null where nothing is. */
export function missingForSshd(): string | null {
  if (!existsSync(SSHD)) return `There is no ${SSHD} (apt-get install openssh-server).`;
  return process.getuid?.() === 0 ? null : 'Only root can run an sshd that lets root in.';
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

export async function startSshd(publicKey: string): Promise<TestSshd> {
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-sshd-'));
  const file = (name: string) => path.join(directory, name);
  const port = await freePort();
  // Without it sshd refuses to start.
  execFileSync('mkdir', ['-p', '/run/sshd']);
  const makeHostKey = async () => {
    const { publicKey: made, privateKey } = generateSshKey('host');
    await writeFile(file('host_key'), privateKey, { mode: 0o600 });
    const [type, blob] = made.split(' ');
    return `${type} ${blob}`;
  };
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
    hostKey: await makeHostKey(),
    log: () => output,
    async start() {
      const started = spawn(SSHD, ['-D', '-e', '-f', file('config')], { stdio: ['ignore', 'ignore', 'pipe'] });
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

/** The provider contract against moto: an EC2 that nobody here has written. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import { COMMON, specsIn } from '../contracts/cloud.testsuite.ts';
import { providerSuite } from '../contracts/provider.testsuite.ts';
import { AWS_PACKAGES } from './aws-packages.ts';
import { openPython, type Python } from './python.ts';

const { skip, python, versions } = await openPython(AWS_PACKAGES);

/** Where moto 5.2.5 is not as strict as EC2: the stand-in's own suite shows these. */
const LAX = {
  P9: 'does not know client tokens',
  P21: 'starts terminated instances again',
  P22: 'trips over an instance that is terminated twice at once',
  P38: 'changes the type of instances that run',
};

test(`moto takes the provider (${versions})`, { skip }, () => {});
if (skip === false) {
  providerSuite('aws at moto', async () => {
    const moto = await startMoto(python);
    const provider = createAwsProvider({
      ...COMMON,
      ...{ region: 'eu-central-1', endpoint: moto.endpoint, securityGroups: [] },
      credentials: { accessKeyId: 'AKIAMOTO', secretAccessKey: 'moto' },
    });
    return { provider, spec: specsIn('eu-central-1a'), lax: LAX, dispose: moto.dispose };
  });
}

/** Images as Debian publishes them; moto's own are of 2017. */
function images(): object[] {
  const image = (id: string, architecture: string, name: string) => ({
    ...{
      ami_id: id,
      architecture,
      name: `debian-12-${name}-20240901-1857`,
      owner_id: '136693071363',
      state: 'available',
    },
    ...{ description: 'Debian 12', hypervisor: 'xen', image_location: `amazon/${name}`, image_type: 'machine' },
    ...{ platform: null, public: true, root_device_name: '/dev/xvda', root_device_type: 'ebs', sriov: 'simple' },
    ...{ virtualization_type: 'hvm', creation_date: '2024-09-01T00:00:00.000Z' },
  });
  return [image('ami-00000000000000a64', 'x86_64', 'amd64'), image('ami-00000000000000a65', 'arm64', 'arm64')];
}

async function startMoto({ interpreter, cwd }: Python): Promise<{ endpoint: string; dispose(): Promise<void> }> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'provisioning-moto-'));
  const amis = path.join(folder, 'amis.json');
  writeFileSync(amis, JSON.stringify(images()));
  const port = await freePort();
  const child = spawn(interpreter, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    cwd,
    env: { PATH: process.env.PATH, HOME: folder, MOTO_AMIS_PATH: amis },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4_000);
  });
  const endpoint = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + 60_000; ; await delay(100)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`moto does not answer: ${said}`);
    if (
      await fetch(`${endpoint}/moto-api/data.json`).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      break;
  }
  return {
    endpoint,
    async dispose() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

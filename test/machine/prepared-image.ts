/** Images that spare the hosts of the tests what all of them would do over and over: fetching packages. */
import { createHash } from 'node:crypto';
import type Docker from 'dockerode';
import { until } from '../support/server.ts';
import { IMAGE, LABEL, startHost } from './catalog-host.ts';

/** Repository of these images. */
const REPOSITORY = 'provisioning-test-prepared';
/** What many hosts of the tests install: fetched once, unpacked on each. */
const DOWNLOADS = [
  ...['etcd-client', 'etcd-server', 'haproxy', 'memcached', 'nginx', 'postgresql', 'prometheus-node-exporter'],
  ...['redis-server', 'containerd', 'containernetworking-plugins', 'podman', 'netavark', 'aardvark-dns', 'iptables'],
];
/** Libraries that take long to unpack, of what is installed often: no service by themselves, and no service's own files. */
const LIBRARIES = ['libllvm14', 'perl'];
/** The package manager on a busy machine. Milliseconds. */
const PREPARING_MS = 400_000;

/**
 * An image with the package lists of today, the archives of what many tests install, and some packages. It is made by
 * the first who asks on a day and stays in the engine for all others, who wait for it; those of earlier days are removed.
 * @param packages `systemd-sysv` makes its /sbin/init systemd.
 * @returns its name.
 */
export async function preparedImage(engine: Docker, packages: readonly string[] = []): Promise<string> {
  if (packages.length === 0) {
    const { Id: base } = await engine.getImage(IMAGE).inspect();
    return imageBy(engine, IMAGE, base, fetching());
  }
  const base = await preparedImage(engine);
  return imageBy(engine, base, base, `apt-get install -qq --no-install-recommends ${packages.join(' ')}`);
}

async function imageBy(engine: Docker, from: string, base: string, script: string): Promise<string> {
  const day = new Date().toISOString().slice(0, 10);
  const variant = createHash('sha256')
    .update(`${base.replace(`-${day}`, '')} ${script}`)
    .digest('hex')
    .slice(0, 12);
  const tag = `${variant}-${day}`;
  const name = `${REPOSITORY}:${tag}`;
  const tags = async () => {
    const found = await engine.listImages({ filters: { reference: [`${REPOSITORY}:*`] } });
    return found.flatMap(({ RepoTags: all }) => all ?? []);
  };
  const isMade = async () => (await tags()).some((one) => one.endsWith(name));
  while (!(await isMade())) {
    const container = `preparing-${tag}`;
    if (await isUnderWay(engine, container)) {
      await until(async () => !(await isUnderWay(engine, container)), `${name} to be made`, PREPARING_MS);
    } else await make({ engine, from, container, tag, script, isMade });
  }
  for (const old of await tags()) if (!old.endsWith(day)) await remove(engine, old);
  return name;
}

/** Leaves one that somebody still uses, or has just removed. */
async function remove(engine: Docker, image: string): Promise<void> {
  const kept = [404, 409];
  await engine
    .getImage(image)
    .remove()
    .catch((error: { statusCode?: number }) => {
      if (!kept.includes(error.statusCode ?? 0)) throw error;
    });
}

/** The container's name makes it one at a time; one that is left of a process that has ended is removed. */
async function isUnderWay(engine: Docker, container: string): Promise<boolean> {
  const found = await engine.listContainers({ all: true, filters: { name: [container] } });
  for (const { Id: id, Labels: labels } of found) {
    if (isAlive(Number(labels[LABEL]))) return true;
    await engine.getContainer(id).remove({ force: true, v: true });
  }
  return false;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

interface Making {
  engine: Docker;
  from: string;
  container: string;
  tag: string;
  script: string;
  isMade: () => Promise<boolean>;
}

/** Does nothing where somebody else has just begun, or has just ended. What apt has done here is no host's own history. */
async function make({ engine, from, container, tag, script, isMade }: Making): Promise<void> {
  const started = await startHost(engine, { hostname: 'prepared', name: container, image: from }).catch(
    async (error: unknown) => {
      if (await isUnderWay(engine, container)) return null;
      throw error;
    },
  );
  if (started === null) return;
  await using host = started;
  if (await isMade()) return;
  await host.run(['sh', '-ec', `${script}\nrm -f /var/log/apt/*.log /var/log/dpkg.log`]);
  await engine.getContainer(host.id).commit({ repo: REPOSITORY, tag });
}

/** Translated descriptions are as large as the lists themselves. */
function fetching(): string {
  return [
    `echo 'Acquire::Languages "none";' >/etc/apt/apt.conf.d/no-languages`,
    'apt-get update -qq',
    `apt-get install -qq --no-install-recommends ${LIBRARIES.join(' ')}`,
    `apt-get install -qq --no-install-recommends --download-only ${DOWNLOADS.join(' ')}`,
  ].join('\n');
}

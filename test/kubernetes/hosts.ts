/** Containers that carry a node of Kubernetes each, and what of it may be on one and what not. */
import { createWriteStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type Docker from 'dockerode';
import type { Host, HostOptions } from '../machine/catalog-host.ts';

/** What a node needs that a container does not have by itself: rights, and for containers' files no layers upon layers. */
export const NODE: Partial<HostOptions> = { privileged: true, volumes: ['/var'] };

/** Packages of the distribution that Kubernetes requires, but for containerd: fetched once for all hosts. */
export const PACKAGES = ['conntrack', 'ethtool', 'iptables', 'socat', 'openssl'];

/** What the kubelet sets for the whole machine that the containers are on. */
const MACHINE_SETTINGS = [
  ...['vm/overcommit_memory', 'vm/panic_on_oom', 'kernel/panic', 'kernel/panic_on_oops'],
  ...['kernel/keys/root_maxkeys', 'kernel/keys/root_maxbytes'],
].map((name) => `/proc/sys/${name}`);

/** Puts them back at the end. */
export async function keepMachineSettings(): Promise<AsyncDisposable> {
  const kept = await Promise.all(MACHINE_SETTINGS.map(async (file) => ({ file, value: await readFile(file, 'utf8') })));
  return {
    async [Symbol.asyncDispose]() {
      for (const { file, value } of kept) if ((await readFile(file, 'utf8')) !== value) await writeFile(file, value);
    },
  };
}

/** iptables and conntrack with their libraries, which kube-proxy calls, as a tar. */
export async function packetFilterTools(engine: Docker, host: Host, tar: string): Promise<void> {
  const folder = '/tmp/packet-filter-tools';
  const script = `mkdir ${folder}
    programs=/usr/sbin/conntrack
    for family in iptables ip6tables; do
      for program in $family $family-save $family-restore; do programs="$programs /usr/sbin/$program"; done
    done
    extensions=$(ls /usr/lib/*/xtables/*.so)
    libraries=$(ldd $programs $extensions | sed -n 's,^[^/]*\\(/[^ ]*\\) (0x.*,\\1,p' | sort -u)
    cp --parents --dereference $programs $extensions $libraries ${folder}`;
  await host.run(['sh', '-euc', script]);
  await pipeline(await engine.getContainer(host.id).getArchive({ path: `${folder}/.` }), createWriteStream(tar));
  await host.run(['rm', '-r', folder]);
}

/** Prints a line for whatever is left of a node. */
const LEFT = `
ip -o link show | grep -E 'cni0|pod-vxlan|veth' || true
ip route show | grep -E '10\\.244\\.|pod-vxlan' || true
for family in iptables ip6tables; do $family-save | grep -E 'KUBE|CNI|pod-network' | head -n 5; done
ps -e -o comm= | grep -E '^(kube|etcd|coredns|pod|containerd-shim)' || true
ps -C supervise -o args= | grep -v ' containerd' || true
grep -E '/var/lib/kubelet|containerd/io' /proc/mounts || true
find /etc/cni/net.d -mindepth 1 2>/dev/null || true
ls -d /etc/kubernetes /var/lib/kubelet /var/lib/etcd /usr/local/bin/kube* /usr/local/bin/crictl 2>/dev/null || true
`;

/** What of a node is on a host where none should be; empty: nothing. */
export function leftOf(host: Host): Promise<string> {
  return host.run(['sh', '-c', LEFT]);
}

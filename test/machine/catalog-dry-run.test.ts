/**
 * Taskservs whose programs cannot be had or cannot run in a container: the vendor's files come from a mirror of the test,
 * programs are replaced by ones that write down how they are called, and the rendered configuration is held against what
 * the vendor's documentation asks for. Everything else (packages, users, files, supervision) is real.
 */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { CANARY } from './catalog-cases.ts';
import {
  FAKE_CILIUM,
  FAKE_COREDNS,
  FAKE_GITEA,
  FAKE_K3S,
  FAKE_KUBEADM,
  fakeKubectl,
  fakeKubelet,
  initConfiguration,
  joinConfiguration,
  UNPACK_NATS,
} from './catalog-fakes.ts';
import { attemptScript, install, runScript, startHost, testEngine } from './catalog-host.ts';
import { archive, recorded, recorder, replace, startMirror } from './catalog-vendor.ts';
import { preparedImage } from './prepared-image.ts';

const engine = testEngine();
const catalog = await loadCatalog(null);
const skip = engine === null && 'PROVISIONING_TEST_DOCKER_HOST is not set';

suite('catalog: dry runs', { skip, concurrency: 3 }, () => {
  if (engine === null) return;
  let image: string;
  before(async () => {
    image = await preparedImage(engine);
  });

  test('coredns: verified, unpacked, unprivileged on port 53, with the records of the config', async () => {
    await using host = await startHost(engine, { image, hostname: 'dry-coredns' });
    await using mirror = await startMirror();
    const sum = mirror.add('/v1.14.2/coredns_1.14.2_linux_amd64.tgz', await archive({ coredns: FAKE_COREDNS }));
    const config = {
      mirror: mirror.url(host),
      sha256: sum,
      records: ['10.0.0.5 db-01.internal'],
      forward: ['9.9.9.9'],
    };

    const wrong = { ...config, sha256: '0'.repeat(64) };
    const base = catalog.definitions.get('coredns');
    assert.ok(base);
    const refused = await attemptScript(host, base, 'install', wrong);
    assert.equal(refused.exitCode, 1);
    assert.match(refused.output, new RegExp(`has the SHA-256 ${sum}, expected 0{64}: not installed`));
    assert.equal((await host.attempt(['test', '-e', '/usr/local/bin/coredns'])).exitCode, 1);

    const { definition } = await install(host, catalog, 'coredns', { coredns: config });
    assert.match(
      await host.run(['ps', '-o', 'user=,args=', '-C', 'coredns']),
      /^coredns .*-conf \/etc\/coredns\/Corefile/,
    );
    const corefile = await host.run(['cat', '/etc/coredns/Corefile']);
    assert.match(corefile, /^\.:53 \{$[\s\S]*^ {4}10\.0\.0\.5 db-01\.internal$[\s\S]*^ {2}forward \. 9\.9\.9\.9$/m);
    assert.equal(await runScript(host, definition, 'install', config), '');
    assert.equal(mirror.asked.length, 2, 'nothing is downloaded twice');
    await runScript(host, definition, 'remove', config);
    assert.equal((await host.attempt(['ps', '-C', 'coredns'])).exitCode, 1);
  });

  test('nats from the vendor: the pinned release in place of the package', async () => {
    await using host = await startHost(engine, { image, hostname: 'dry-nats' });
    await recorded(host);
    await using mirror = await startMirror();
    // The distribution's program under the vendor's name, so that it is a NATS server that is checked.
    await host.run(['sh', '-ec', UNPACK_NATS]);
    const folder = 'nats-server-v2.10.29-linux-amd64';
    const program = recorder(
      `case "$1" in --version) echo 'nats-server: v2.10.29' ;; *) exec /opt/nats/usr/sbin/nats-server "$@" ;; esac`,
    );
    const sum = mirror.add(`/v2.10.29/${folder}.tar.gz`, await archive({ [`${folder}/nats-server`]: program }));
    const config = { version: '2.10.29', mirror: mirror.url(host), sha256: sum, user: 'app', password: CANARY };
    const { definition } = await install(host, catalog, 'nats', { nats: config });
    assert.equal(await runScript(host, definition, 'install', config), '');
    const calls = new Set(await recorded(host));
    assert.deepEqual(
      calls,
      new Set([
        'nats-server [--version]',
        'nats-server [-t] [-c] [/etc/nats-server.conf]',
        'nats-server [-c] [/etc/nats-server.conf]',
      ]),
    );
    // Without a checksum of one's own, the vendor's is what counts.
    const { sha256: _sha256, ...vendor } = config;
    await runScript(host, definition, 'remove', config);
    const refused = await attemptScript(host, definition, 'install', vendor);
    assert.match(
      refused.output,
      /expected e314da74a83a1d3876db8814c27eb990fe729640fd6452025b441bcede8390da: not installed/,
    );
  });

  test('gitea: its configuration, secrets of its own, an administrator without a password in an argument', async () => {
    await using host = await startHost(engine, { image, hostname: 'dry-gitea' });
    await recorded(host);
    await using mirror = await startMirror();
    const sum = mirror.add('/1.22.6/gitea-1.22.6-linux-amd64', FAKE_GITEA);
    const config = {
      mirror: mirror.url(host),
      sha256: sum,
      admin_user: 'root',
      admin_email: 'root@example.com',
      admin_password: CANARY,
      database: 'postgres',
      database_password: CANARY,
    };
    const { definition, output } = await install(host, catalog, 'gitea', { gitea: config });
    assert.doesNotMatch(output, new RegExp(CANARY));
    const calls = await recorded(host);
    assert.doesNotMatch(calls.join('\n'), new RegExp(CANARY));
    const admin = calls
      .filter((call) => call.startsWith('gitea [admin]'))
      .map((call) => call.replace(/provisioning-[\d-]+/, 'NAME'));
    assert.deepEqual(admin, [
      'gitea [admin] [user] [create] [--config] [/etc/gitea/app.ini] [--admin] [--username] [root] [--email] [root@example.com] [--random-password] [--must-change-password=false]',
      'gitea [admin] [user] [generate-access-token] [--config] [/etc/gitea/app.ini] [--raw] [--username] [root] [--token-name] [NAME] [--scopes] [write:admin]',
    ]);
    const ini = await host.run(['cat', '/etc/gitea/app.ini']);
    assert.match(ini, /^\[server\]\nHTTP_ADDR = 127\.0\.0\.1\nHTTP_PORT = 3000$/m);
    assert.match(
      ini,
      new RegExp(
        `^\\[database\\]\nDB_TYPE = postgres\nHOST = 127\\.0\\.0\\.1:5432\nNAME = gitea\nUSER = gitea\nPASSWD = \`${CANARY}\`$`,
        'm',
      ),
    );
    assert.match(ini, /^SECRET_KEY_URI = file:\/etc\/gitea\/SECRET_KEY$/m);
    assert.equal(
      await host.run(['stat', '-c', '%a %U:%G', '/etc/gitea/app.ini', '/etc/gitea/SECRET_KEY']),
      '640 root:git\n640 root:git\n',
    );
    assert.equal(await runScript(host, definition, 'install', config), '');
    await runScript(host, definition, 'remove', config);
    assert.equal((await host.attempt(['ps', '-u', 'git'])).exitCode, 1);
  });

  test('k3s: configuration of servers and agents, the token in a file that only root reads', async () => {
    await using host = await startHost(engine, { image, hostname: 'Dry-K3s' });
    await using mirror = await startMirror();
    const sum = mirror.add('/v1.31.4%2Bk3s1/k3s', recorder(FAKE_K3S));
    const token = CANARY.replace('-', '').padEnd(32, '0');
    const config = {
      mirror: mirror.url(host),
      sha256: sum,
      token,
      cluster_init: true,
      tls_san: ['k3s.example.com'],
      disable: ['traefik', 'servicelb'],
      node_labels: ['tier=db'],
    };
    const { definition } = await install(host, catalog, 'k3s', { k3s: config });
    const file = '/etc/rancher/k3s/config.yaml';
    assert.deepEqual(parse(await host.run(['cat', file])), {
      token,
      'node-label': ['tier=db'],
      'cluster-init': true,
      'write-kubeconfig-mode': '0600',
      'cluster-cidr': '10.42.0.0/16',
      'service-cidr': '10.43.0.0/16',
      'flannel-backend': 'vxlan',
      'tls-san': ['k3s.example.com'],
      disable: ['traefik', 'servicelb'],
    });
    assert.equal(await host.run(['stat', '-c', '%a', file]), '600\n');
    assert.equal(await runScript(host, definition, 'install', config), '');
    assert.deepEqual(
      [...new Set(await recorded(host))],
      [
        'k3s [server]',
        'k3s [kubectl] [get] [--raw] [/readyz]',
        'k3s [kubectl] [get] [node] [dry-k3s] [-o] [jsonpath={.status.conditions[?(@.type=="Ready")].status}]',
        'k3s [--version]',
        'k3s [kubectl] [get] [nodes] [--no-headers]',
      ],
    );

    const agent = { mirror: config.mirror, sha256: sum, token, role: 'agent', server_url: 'https://10.0.0.5:6443' };
    assert.match(
      (await attemptScript(host, definition, 'install', agent)).output,
      /k3s runs on this host; delete that taskserv first/,
    );
    await runScript(host, definition, 'remove', config);
    assert.equal((await host.attempt(['sh', '-c', 'ps -eo args | grep "[k]3s server"'])).exitCode, 1);
    await runScript(host, definition, 'install', agent);
    assert.deepEqual(parse(await host.run(['cat', file])), { token, server: 'https://10.0.0.5:6443' });
    await runScript(host, definition, 'check', agent);
    assert.equal((await recorded(host, /--version|kubectl/)).join(), 'k3s [agent]');
    await runScript(host, definition, 'remove', agent);
  });

  test('kubernetes: kubeadm makes a cluster once, is upgraded in place, and resets what was cut off; cilium joins in', async () => {
    await using host = await startHost(engine, { image, hostname: 'dry-k8s', privileged: true });
    await using mirror = await startMirror();
    const sha256 = ['1.31.13', '1.30.11'].map((version) => {
      const programs = {
        kubeadm: recorder(FAKE_KUBEADM),
        kubelet: recorder(fakeKubelet(version)),
        kubectl: recorder(fakeKubectl(version)),
      };
      return Object.entries(programs).map(
        ([name, text]) => `${name}=${mirror.add(`/v${version}/bin/linux/amd64/${name}`, text)}`,
      );
    });
    const token = 'abcdef.0123456789abcdef';
    const base = { mirror: mirror.url(host), sha256: sha256[1], token, control_plane_endpoint: '10.0.0.5:6443' };
    for (const program of ['modprobe', 'sysctl']) await replace(host, program);
    const crictl = mirror.add('/v1.30.0/crictl-v1.30.0-linux-amd64.tar.gz', await archive({ crictl: recorder() }));
    const config = {
      ...base,
      // kubeadm before 1.31 finds no images without it.
      crictl_mirror: base.mirror,
      crictl_sha256: crictl,
      version: '1.30.11',
      node_ip: '10.0.0.5',
      certificate_key: 'ab'.repeat(32),
      skip_kube_proxy: true,
    };
    const { definition, output } = await install(host, catalog, 'kubernetes', {
      containerd: { snapshotter: 'native' },
      kubernetes: config,
    });
    assert.match(output, /^ca_cert_hash sha256:[0-9a-f]{64}$/m);
    assert.doesNotMatch(output, new RegExp(token));
    const settings = async () =>
      parseAllDocuments(await host.run(['cat', '/etc/kubernetes/provisioning.yaml'])).map((document) =>
        document.toJS(),
      );
    assert.deepEqual(await settings(), initConfiguration(token));
    assert.equal(await host.run(['stat', '-c', '%a', '/etc/kubernetes/provisioning.yaml']), '600\n');
    const kubeadm = async () => (await recorded(host)).filter((call) => call.startsWith('kubeadm'));
    const init =
      'kubeadm [init] [--config] [/etc/kubernetes/provisioning.yaml] [--upload-certs] [--skip-token-print] [--skip-certificate-key-print]';
    assert.deepEqual(await kubeadm(), [init]);
    await host.run(['test', '-x', '/usr/local/bin/crictl']);
    assert.match(await runScript(host, definition, 'install', config), /^ca_cert_hash sha256:[0-9a-f]{64}\n$/);
    assert.deepEqual(await kubeadm(), []);

    const upgraded = { ...config, version: '1.31.13', sha256: sha256[0] };
    await runScript(host, definition, 'install', upgraded);
    assert.deepEqual(await kubeadm(), ['kubeadm [upgrade] [apply] [--yes] [v1.31.13]']);
    assert.equal(await host.run(['cat', '/run/kubelet-at-upgrade']), '1.30.11\n', 'the kubelet comes after the API');
    assert.match(await host.run(['cat', '/usr/local/bin/kubelet']), /^# version 1\.31\.13$/m);

    // A setting is applied, or refused: never "changed" without an effect.
    await runScript(host, definition, 'install', { ...upgraded, api_server_sans: ['api.example.com'] });
    assert.deepEqual(await kubeadm(), [
      'kubeadm [init] [phase] [certs] [apiserver] [--config] [/etc/kubernetes/provisioning-cluster.yaml]',
    ]);
    await runScript(host, definition, 'install', { ...upgraded, schedule_on_control_plane: true });
    await recorded(host);
    const subnet = await attemptScript(host, definition, 'install', { ...upgraded, pod_subnet: '10.99.0.0/16' });
    assert.match(subnet.output, /these cannot be changed in a cluster that is there: .*pod_subnet/);

    const cilium = catalog.definitions.get('cilium');
    assert.ok(cilium);
    const cli = mirror.add('/v0.19.4/cilium-linux-amd64.tar.gz', await archive({ cilium: recorder(FAKE_CILIUM) }));
    const network = { mirror: base.mirror, sha256: cli, set: ['mtu=1450'] };
    await runScript(host, cilium, 'install', network);
    assert.equal(await runScript(host, cilium, 'install', network), '', 'nothing is done twice');
    await runScript(host, cilium, 'check', network);
    await runScript(host, cilium, 'install', { ...network, version: '1.17.4' });
    await runScript(host, cilium, 'remove', network);
    const values =
      '[--set] [ipam.operator.clusterPoolIPv4PodCIDRList=10.244.0.0/16] [--set] [operator.replicas=1] [--set] [kubeProxyReplacement=false] [--set] [mtu=1450]';
    assert.deepEqual(
      (await recorded(host)).filter((call) => call.startsWith('cilium') && call !== 'cilium [version]'),
      [
        `cilium [install] [--version] [1.16.5] ${values}`,
        'cilium [status] [--wait] [--wait-duration] [5m] [--interactive=false]',
        `cilium [upgrade] [--version] [1.17.4] ${values}`,
        'cilium [uninstall] [--wait]',
      ],
    );

    await host.put('/etc/cni/net.d/05-network.conflist', '{}', '0644');
    const watched = await host.run(['stat', '-c', '%i', '/etc/cni/net.d']);
    await host.run(['iptables', '-N', 'KUBE-SERVICES']);
    await recorded(host);
    await runScript(host, definition, 'remove', config);
    assert.deepEqual(await kubeadm(), [
      'kubeadm [reset] [--force] [--cri-socket] [unix:///run/containerd/containerd.sock]',
    ]);
    assert.equal(await host.run(['cat', '/run/kubelet-at-reset']), '', 'the kubelet would start again what is reset');
    assert.equal(await host.run(['stat', '-c', '%i', '/etc/cni/net.d']), watched, 'containerd watches this directory');
    assert.equal(await host.run(['ls', '/etc/cni/net.d']), '');
    assert.doesNotMatch(await host.run(['iptables-save']), /KUBE-/);
    assert.equal((await host.attempt(['ps', '-C', 'kubelet'])).exitCode, 1);

    // A worker, on a host where an earlier attempt was cut off.
    await host.put('/etc/kubernetes/kubelet.conf', 'half', '0600');
    const worker = {
      ...base,
      version: '1.31.13',
      sha256: sha256[0],
      role: 'worker',
      ca_cert_hash: `sha256:${'c'.repeat(64)}`,
      node_ip: '10.0.0.6',
    };
    await runScript(host, definition, 'install', worker);
    assert.deepEqual(await settings(), [joinConfiguration(token)]);
    assert.deepEqual(await kubeadm(), [
      'kubeadm [reset] [--force] [--cri-socket] [unix:///run/containerd/containerd.sock]',
      'kubeadm [join] [--config] [/etc/kubernetes/provisioning.yaml]',
    ]);
    assert.equal(await host.run(['cat', '/run/kubelet-at-reset']), '', 'its port would be in use');
    await runScript(host, definition, 'check', worker);
    await runScript(host, definition, 'remove', worker);
    const { ca_cert_hash: _hash, ...unverified } = worker;
    assert.match((await attemptScript(host, definition, 'install', unverified)).output, /needs config\.ca_cert_hash/);
  });

  test('kubernetes across servers: the first founds, another joins with what it hands out, is drained and forgotten', async () => {
    await using leader = await startHost(engine, { image, hostname: 'dry-lead', privileged: true });
    await using worker = await startHost(engine, { image, hostname: 'dry-work', privileged: true });
    await using mirror = await startMirror();
    const programs = {
      kubeadm: recorder(FAKE_KUBEADM),
      kubelet: recorder(fakeKubelet('1.34.11')),
      kubectl: recorder(fakeKubectl('1.34.11', 'True')),
    };
    const sha256 = Object.entries(programs).map(
      ([name, text]) => `${name}=${mirror.add(`/v1.34.11/bin/linux/amd64/${name}`, text)}`,
    );
    const config = { mirror: mirror.url(leader), sha256 };
    const members = `dry-lead control-plane ${leader.address}\ndry-work worker ${worker.address}`;
    const member = (host: typeof leader, role: string, leads: string) => ({
      HOST_NAME: host.name,
      HOST_ADDRESS: host.address,
      CLUSTER_ROLE: role,
      CLUSTER_LEADS: leads,
      CLUSTER_LEADER: 'dry-lead',
      CLUSTER_LEADER_ADDRESS: leader.address,
      CLUSTER_MEMBERS: members,
    });
    const leading = member(leader, 'control-plane', 'yes');
    const joining = member(worker, 'worker', 'no');
    const peer = { PEER_NAME: 'dry-work', PEER_ADDRESS: worker.address, PEER_ROLE: 'worker', PEER_LEAVES: 'no' };
    const definition = catalog.definitions.get('kubernetes');
    assert.ok(definition);
    for (const host of [leader, worker]) {
      for (const program of ['modprobe', 'sysctl']) await replace(host, program);
      await install(host, catalog, 'containerd', { containerd: { snapshotter: 'native' } });
    }
    const kubeadm = async (host: typeof leader) => (await recorded(host)).filter((call) => call.startsWith('kubeadm'));

    await runScript(leader, definition, 'install', config, leading);
    assert.deepEqual(await kubeadm(leader), [
      'kubeadm [init] [--config] [/etc/kubernetes/provisioning.yaml] [--skip-token-print]',
    ]);
    await runScript(leader, definition, 'check', config, leading);
    // Another control plane may be the one by which all reach the cluster.
    const own = 'kubectl [--server] [https://localhost:6443] [--tls-server-name] [kubernetes]';
    // The pod network goes on asking by itself.
    const asked = await recorded(leader, /^kubelet|pod-network\.conf/);
    assert.ok(asked.length > 2 && asked.every((call) => call.startsWith(own)), asked.join('\n'));
    const [init] = parseAllDocuments(await leader.run(['cat', '/etc/kubernetes/provisioning.yaml'])).map((document) =>
      document.toJS(),
    );
    assert.equal(init.kind, 'InitConfiguration');
    assert.equal(init.bootstrapTokens, undefined, 'no token that lives for ever');
    const admit = async (more: Record<string, string> = {}) => {
      const env = { ...leading, ...peer, FACT_MARK: 'mark', ...more };
      const handed = await runScript(leader, definition, 'admit', config, env);
      return Object.fromEntries(
        [...handed.matchAll(/^mark (\S+) (\S+)$/gm)].map(([, name, value]) => [
          `FACT_${name}`,
          Buffer.from(String(value), 'base64').toString(),
        ]),
      );
    };
    const facts = await admit();
    assert.match(facts.FACT_CA_CERT_HASH ?? '', /^sha256:[0-9a-f]{64}$/);
    assert.deepEqual(
      { ...facts, FACT_CA_CERT_HASH: '' },
      {
        FACT_API_ENDPOINT: '10.0.0.5:6443',
        FACT_JOIN_TOKEN: 'fedcba.fedcba9876543210',
        FACT_CA_CERT_HASH: '',
        FACT_NETWORK_TOKEN: 'network',
      },
    );
    const letIn = await recorded(leader);
    assert.match(letIn.join('\n'), /^kubeadm \[token\] \[create\] \[--ttl\] \[30m\] \[--kubeconfig\] /m);
    assert.doesNotMatch(letIn.join('\n'), /\[delete\]/, 'a node that is ready stays');

    const output = await runScript(worker, definition, 'install', config, { ...joining, ...facts });
    assert.doesNotMatch(output, /fedcba/);
    assert.deepEqual(await kubeadm(worker), ['kubeadm [join] [--config] [/etc/kubernetes/provisioning.yaml]']);
    await runScript(worker, definition, 'check', config, joining);
    assert.equal(await worker.run(['stat', '-c', '%a', '/etc/kubernetes/pod-network.conf']), '600\n');
    await recorded(worker);
    assert.equal(await runScript(worker, definition, 'install', config, joining), '', 'nothing is done twice');
    assert.deepEqual(await kubeadm(worker), []);

    await leader.put('/run/fake/pods', 'kube-system kube-proxy-abcde\n', '0644');
    await recorded(leader);
    await runScript(leader, definition, 'drain', config, { ...leading, ...peer, PEER_LEAVES: 'yes' });
    const calls = (await recorded(leader)).filter((call) => /\[(drain|delete)\]/.test(call));
    assert.deepEqual(calls, [
      `${own} [drain] [dry-work] [--ignore-daemonsets] [--delete-emptydir-data] [--force] [--timeout=540s]`,
      `${own} [delete] [node] [dry-work] [--ignore-not-found]`,
      `${own} [--namespace] [kube-system] [delete] [pod] [kube-proxy-abcde] [--ignore-not-found] [--force] [--grace-period=0]`,
    ]);
    await runScript(leader, definition, 'resume', config, { ...leading, ...peer });
    assert.ok((await recorded(leader)).includes(`${own} [uncordon] [dry-work]`));

    // Let in anew: where the cluster knows it, it stays as it is; else it joins once more.
    const key =
      'openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum';
    const hash = `sha256:${(await worker.run(['sh', '-c', key])).split(' ')[0]}`;
    const anew = { ...joining, ...facts, FACT_CA_CERT_HASH: hash };
    await runScript(worker, definition, 'install', config, anew);
    assert.deepEqual(await kubeadm(worker), []);
    await worker.put('/run/fake/node', '', '0644');
    await worker.put('/run/fake/ready', 'Unknown', '0644');
    await runScript(worker, definition, 'install', config, anew);
    const rejoined = [
      'kubeadm [reset] [--force] [--cri-socket] [unix:///run/containerd/containerd.sock]',
      'kubeadm [join] [--config] [/etc/kubernetes/provisioning.yaml]',
    ];
    assert.deepEqual(await kubeadm(worker), rejoined);
    await worker.run(['rm', '/run/fake/node']);
    assert.match(await runScript(worker, definition, 'install', config, { ...joining, ...facts }), /joins anew/);
    assert.deepEqual(await kubeadm(worker), rejoined, "it had joined another's cluster");
    await worker.run(['rm', '/run/fake/ready']);

    // What etcd forgets before a control plane joins: what is no member and does not answer, and a lost one of that name.
    const etcd = [
      'aa1, started, dry-lead, https://10.0.0.5:2380, https://10.0.0.5:2379, false',
      'bb2, started, dry-work, https://10.0.0.6:2380, https://10.0.0.6:2379, false',
      'cc3, started, dry-gone, https://10.0.0.7:2380, https://10.0.0.7:2379, false',
      'dd4, started, dry-kept, https://10.0.0.8:2380, https://10.0.0.8:2379, false',
      'ee5, unstarted, , https://10.0.0.9:2380, , true',
      '',
    ];
    await leader.put('/run/fake/etcd', etcd.join('\n'), '0644');
    await leader.put('/run/fake/etcd-up', 'https://10.0.0.5:2379\nhttps://10.0.0.8:2379\n', '0644');
    const plane = { PEER_ROLE: 'control-plane' };
    const struck = async () =>
      (await recorded(leader)).flatMap((call) => /\[member\] \[remove\] \[(\w+)\]$/.exec(call)?.[1] ?? []);
    await recorded(leader);
    assert.match((await admit(plane)).FACT_CERTIFICATE_KEY ?? '', /^[0-9a-f]{64}$/);
    assert.deepEqual(await struck(), ['cc3', 'ee5'], 'a node that is ready keeps its member');
    await leader.put('/run/fake/ready', 'Unknown', '0644');
    await admit(plane);
    assert.deepEqual(await struck(), ['bb2', 'cc3', 'ee5']);
    await leader.run(['rm', '/run/fake/ready']);

    // One of an earlier version has a network that somebody else has brought: it keeps it, and so do those that join.
    await leader.run(['rm', '/var/lib/provisioning/state/kubernetes/settled', '/etc/kubernetes/pod-network.conf']);
    await leader.run(['rm', '/run/applied']);
    for (const _time of ['once', 'again']) await runScript(leader, definition, 'install', config, leading);
    const brought = ['test', '-e', '/etc/kubernetes/pod-network.conf', '-o', '-e', '/run/applied'];
    assert.equal((await leader.attempt(brought)).exitCode, 1);
    const { FACT_NETWORK: network, FACT_NETWORK_TOKEN: none } = await admit();
    assert.deepEqual([network, none], ['other', undefined]);
    await runScript(worker, definition, 'remove', config, joining);
    await runScript(leader, definition, 'remove', config, leading);
  });

  test('wireguard: what wg-quick reads, a key that the host makes and keeps, calls of wg-quick', async () => {
    await using host = await startHost(engine, { image, hostname: 'dry-wireguard' });
    const state = '/run/wg-up';
    await replace(
      host,
      'wg-quick',
      `case $1 in up) touch ${state} ;; down) rm -f ${state} ;; *) exec $REAL "$@" ;; esac`,
    );
    await replace(
      host,
      'ip',
      `[ "$1 $2" != "link show" ] || { [ -e ${state} ]; exit; }\necho '7: wg0 inet 10.10.0.1/24 scope global wg0'`,
    );
    await replace(
      host,
      'wg',
      `case "$1 $3" in
      'show listen-port') echo 51820 ;;
      'show peers') sed -n 's/^PublicKey = //p' /etc/wireguard/wg0.conf ;;
      'show latest-handshakes') echo "$(sed -n 's/^PublicKey = //p' /etc/wireguard/wg0.conf | head -n 1) 1700000000" ;;
      *) exec $REAL "$@" ;;
    esac`,
    );
    const peer = `${'p'.repeat(43)}=`;
    const config = {
      addresses: ['10.10.0.1/24'],
      peers: [`${peer} 10.10.0.2/32,10.20.0.0/16 198.51.100.7:51820`],
      persistent_keepalive: 25,
    };
    const { definition, output } = await install(host, catalog, 'wireguard', { wireguard: config });
    const publicKey = /^public_key ([A-Za-z0-9+/]{43}=)$/m.exec(output)?.[1];
    assert.ok(publicKey);
    // The real wg-quick reads the file.
    const stripped = await host.run(['wg-quick', 'strip', 'wg0']);
    assert.match(
      stripped,
      new RegExp(
        `ListenPort = 51820\\nPrivateKey = [A-Za-z0-9+/]{43}=\\n+\\[Peer\\]\\nPublicKey = ${peer}\\nAllowedIPs = 10\\.10\\.0\\.2/32,10\\.20\\.0\\.0/16\\nEndpoint = 198\\.51\\.100\\.7:51820\\nPersistentKeepalive = 25`,
      ),
    );
    assert.equal(
      await host.run(['stat', '-c', '%a', '/etc/wireguard/wg0.conf', '/etc/wireguard/wg0.key']),
      '600\n600\n',
    );
    assert.equal(await runScript(host, definition, 'install', config), `public_key ${publicKey}\n`);
    await runScript(host, definition, 'install', { ...config, peers: [] });
    await runScript(host, definition, 'remove', config);
    const calls = (await recorded(host)).filter((call) => /^wg-quick \[(up|down)/.test(call));
    assert.deepEqual(calls, [
      'wg-quick [up] [wg0]',
      'wg-quick [down] [wg0]',
      'wg-quick [up] [wg0]',
      'wg-quick [down] [wg0]',
    ]);
  });

  test('nfs-server: exports, threads, and the calls that make the kernel serve', async () => {
    await using host = await startHost(engine, { image, hostname: 'dry-nfs' });
    const state = '/run/nfs-up';
    await replace(host, 'modprobe');
    await replace(host, 'mount');
    await replace(host, 'rpc.nfsd', `[ "$1" = 0 ] && rm -f ${state} || touch ${state}`);
    await replace(host, 'rpc.mountd', 'exec sleep 3600');
    await replace(host, 'exportfs', `[ "$1" != -s ] || cat /etc/exports.d/*.exports`);
    await replace(host, 'rpcinfo', `[ -e ${state} ]`);
    const config = { exports: ['/srv/data 10.0.0.0/8(rw,sync,no_subtree_check)'], threads: 4 };
    const { definition } = await install(host, catalog, 'nfs-server', { 'nfs-server': config });
    assert.match(
      await host.run(['cat', '/etc/exports.d/provisioning.exports']),
      /^\/srv\/data 10\.0\.0\.0\/8\(rw,sync,no_subtree_check\)$/m,
    );
    assert.match(await host.run(['cat', '/etc/nfs.conf.d/provisioning.conf']), /^\[nfsd\]\nthreads=4\nvers3=n$/m);
    assert.equal(await runScript(host, definition, 'install', config), '');
    await runScript(host, definition, 'remove', config);
    const calls = await recorded(host, /^(rpcinfo|modprobe|mount) /);
    // In the background: it may come after what follows it.
    const mountd = 'rpc.mountd [--foreground]';
    assert.equal(calls.filter((call) => call === mountd).length, 1);
    assert.deepEqual(
      calls.filter((call) => call !== mountd),
      ['exportfs [-r]', 'rpc.nfsd [4]', 'exportfs [-s]', 'rpc.nfsd [0]', 'exportfs [-au]'],
    );
  });
});

/** What vendors' programs do as far as the catalog's scripts see it, and what their configuration must be. */

/** https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta3/ */
export function initConfiguration(token: string): object[] {
  return [
    {
      apiVersion: 'kubeadm.k8s.io/v1beta3',
      kind: 'InitConfiguration',
      bootstrapTokens: [{ token, ttl: '0s' }],
      localAPIEndpoint: { advertiseAddress: '10.0.0.5' },
      certificateKey: 'ab'.repeat(32),
      skipPhases: ['addon/kube-proxy'],
      nodeRegistration: {
        name: 'dry-k8s',
        criSocket: 'unix:///run/containerd/containerd.sock',
        kubeletExtraArgs: { 'node-ip': '10.0.0.5' },
      },
    },
    {
      apiVersion: 'kubeadm.k8s.io/v1beta3',
      kind: 'ClusterConfiguration',
      kubernetesVersion: 'v1.30.11',
      clusterName: 'kubernetes',
      imageRepository: 'registry.k8s.io',
      controlPlaneEndpoint: '10.0.0.5:6443',
      networking: { podSubnet: '10.244.0.0/16', serviceSubnet: '10.96.0.0/12' },
    },
    { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', cgroupDriver: 'cgroupfs' },
  ];
}

/** https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/ */
export function joinConfiguration(token: string): object {
  return {
    apiVersion: 'kubeadm.k8s.io/v1beta4',
    kind: 'JoinConfiguration',
    discovery: {
      bootstrapToken: { apiServerEndpoint: '10.0.0.5:6443', token, caCertHashes: [`sha256:${'c'.repeat(64)}`] },
    },
    nodeRegistration: {
      name: 'dry-k8s',
      criSocket: 'unix:///run/containerd/containerd.sock',
      taints: [],
      kubeletExtraArgs: [{ name: 'node-ip', value: '10.0.0.6' }],
    },
  };
}

export const UNPACK_NATS =
  'apt-get update -qq; cd /tmp; apt-get download -qq nats-server >/dev/null 2>&1; mkdir /opt/nats; dpkg-deb -x nats-server_*.deb /opt/nats';

export const FAKE_K3S = `case "$*" in
  server) exec sleep 3600 ;;
  agent)
    mkdir -p /var/lib/rancher/k3s/agent && echo kubeconfig >/var/lib/rancher/k3s/agent/kubelet.kubeconfig
    exec perl -e '${fakeHttp(10248, 'ok')}' ;;
  *readyz) printf ok ;;
  *jsonpath*) echo True ;;
  --version) echo 'k3s version v1.31.4+k3s1 (a562d090)' ;;
  *nodes*) echo 'dry-k3s Ready' ;;
esac`;

/** What it finds of the kubelet when it upgrades and when it resets is written down: the order of the two matters. */
export const FAKE_KUBEADM = `case "$1 $2" in
  'token create') echo fedcba.fedcba9876543210 ;;
  'init phase') exit ;;
esac
case "$1" in
  upgrade) sed -n 's/^# version //p' /usr/local/bin/kubelet >/run/kubelet-at-upgrade ;;
  init | join)
    mkdir -p /var/lib/kubelet /etc/kubernetes/pki
    for file in kubelet admin; do echo '    server: https://10.0.0.5:6443' >/etc/kubernetes/$file.conf; done
    openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=kubernetes -out /etc/kubernetes/pki/ca.crt 2>/dev/null
    echo KUBELET_KUBEADM_ARGS= >/var/lib/kubelet/kubeadm-flags.env
    echo kind: KubeletConfiguration >/var/lib/kubelet/config.yaml ;;
  reset) if pgrep -x kubelet >/dev/null; then echo running; fi >/run/kubelet-at-reset; rm -rf /etc/kubernetes/kubelet.conf /etc/kubernetes/admin.conf /etc/kubernetes/pki /var/lib/kubelet ;;
esac`;

export const fakeKubelet = (version: string) => `# version ${version}\nexec perl -e '${fakeHttp(10248, 'ok')}'`;

/**
 * @param ready whether a node is that: without a network plugin it is not. Files below /run/fake say otherwise: `ready`;
 *   `node`, which it knows; `pods` that are left on a node; `etcd`, the members as etcdctl lists them, of which those with an address in `etcd-up` answer.
 */
export const fakeKubectl = (
  version: string,
  ready: 'True' | 'False' = 'False',
) => `fake() { cat "/run/fake/$1" 2>/dev/null || echo "$2"; }
if [ "$1" = --server ]; then shift 4; fi
case "$*" in
  *readyz) printf ok ;;
  *'member list') cat /run/fake/etcd ;;
  *'endpoint health') for word; do if [ "$last" = --endpoints ]; then grep -qsFx "$word" /run/fake/etcd-up; exit; fi; last=$word; done ;;
  'apply -f -') cat >/run/applied ;;
  *'get secret'*) printf bmV0d29yaw== ;;
  *taints*) ;;
  *drained*) echo yes ;;
  *unschedulable*) ;;
  *--field-selector*) fake pods ;;
  *jsonpath*) fake ready ${ready} ;;
  *'-o name') fake node node/dry ;;
  version*) echo '{"serverVersion": {"gitVersion": "v${version}"}}' ;;
esac`;

export const FAKE_CILIUM = `case "$1" in
  version) [ ! -e /run/cilium-runs ] || echo 'cilium image (running): v1.16.5' ;;
  install) touch /run/cilium-runs ;;
esac`;

/** A perl program that answers every request with 200 and a text. */
function fakeHttp(port: number, body: string): string {
  return `use IO::Socket::INET; $SIG{PIPE} = "IGNORE";
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => ${port}, Listen => 5, ReuseAddr => 1) or die $!;
    while (my $c = $s->accept) { while (<$c>) { last if /^\\r?$/ } print $c "HTTP/1.0 200 OK\\r\\n\\r\\n${body}"; close $c }`;
}

/** Answers every question for an A record with 127.0.0.1. */
export const FAKE_COREDNS = `#!/usr/bin/perl
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp') or die "port 53: $!";
while ($s->recv(my $q, 512)) {
  my ($question) = substr($q, 12) =~ /^(.*?\\0....)/s;
  $s->send(substr($q, 0, 2) . pack('n5', 0x8580, 1, 1, 0, 0) . $question . pack('n3Nn', 0xc00c, 1, 1, 0, 4) . pack('C4', 127, 0, 0, 1));
}
`;

/** Gitea's API as far as the scripts use it; passwords set by it are what logs in. */
export const FAKE_GITEA = `#!/usr/bin/perl
use IO::Socket::INET; use MIME::Base64;
open my $record, '>>', '/run/recorded'; print $record join(' ', 'gitea', map { "[$_]" } @ARGV), "\\n"; close $record;
my $called = join ' ', @ARGV;
if ($called =~ /^generate secret (\\w+)/) { print "made-up-$1\\n"; exit }
if ($called =~ /generate-access-token/) { print "token-1\\n"; exit }
exit unless $ARGV[0] eq 'web';
$SIG{PIPE} = 'IGNORE';
my $password = 'random';
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 3000, Listen => 5, ReuseAddr => 1) or die $!;
while (my $c = $s->accept) {
  my ($method, $path) = split ' ', scalar <$c>;
  my %h; while (<$c>) { last if /^\\r?$/; $h{lc $1} = $2 if /^([^:]+): (.*?)\\r?$/ }
  my $body = ''; read $c, $body, $h{'content-length'} if $h{'content-length'};
  my $status = '200 OK'; my $answer = '{}';
  if ($path eq '/api/v1/version') { $answer = '{"version":"1.22.6"}' }
  elsif ($path eq '/api/v1/user') { $status = '401 Unauthorized' if $h{authorization} ne 'Basic ' . encode_base64("root:$password", '') }
  elsif ($method eq 'PATCH') { if ($h{authorization} eq 'token token-1' && $body =~ /"password":"([^"]+)"/) { $password = $1 } else { $status = '403 Forbidden' } }
  print $c "HTTP/1.0 $status\\r\\n\\r\\n$answer"; close $c;
}
`;

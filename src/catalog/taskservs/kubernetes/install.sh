#!/bin/sh
# In a cluster that this taskserv makes, the leader founds it and the others join with what admit.sh hands out. Otherwise
# config.role and config.join say what this host becomes, and config.token and the like let it in.
role=${CLUSTER_ROLE:-$TASKSERV_ROLE}
joins=no
if [ -n "$CLUSTER_ROLE" ]; then
  [ "$CLUSTER_LEADS" = yes ] || joins=yes
else
  if [ "$role" = worker ] || [ "$TASKSERV_JOIN" = true ]; then joins=yes; fi
  [ -n "$TASKSERV_TOKEN" ] || fail 'config.token is needed where a cluster is not made by one request'
fi
token=${FACT_JOIN_TOKEN:-$TASKSERV_TOKEN}
ca_hash=${FACT_CA_CERT_HASH:-$TASKSERV_CA_CERT_HASH}
certificate_key=${FACT_CERTIFICATE_KEY:-$TASKSERV_CERTIFICATE_KEY}
done_file=$PROVISIONING_STATE/kubernetes/joined
admin=/etc/kubernetes/admin.conf
socket=unix:///run/containerd/containerd.sock
name=$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')
bracketed() { case $1 in *:*) printf '[%s]' "$1" ;; *) printf '%s' "$1" ;; esac }
# On a control plane: its own API, for the one by which all reach the cluster may be that of another one.
on_api() { KUBECONFIG=$admin kubectl --server https://localhost:6443 --tls-server-name kubernetes "$@"; }
api_ready() { [ "$(on_api get --raw /readyz)" = ok ]; }
# Of the cluster's CA: the SHA-256 of its public key.
ca_cert_hash() {
  openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum |
    sed 's/^\([0-9a-f]*\).*/sha256:\1/'
}

# Let in anew though it has joined: where the cluster has forgotten it, or it was another one's, it has to join again.
if [ -n "${FACT_JOIN_TOKEN:-}" ] && [ -e "$done_file" ]; then
  known=
  if [ -s /etc/kubernetes/kubelet.conf ] && [ "$(ca_cert_hash)" = "$FACT_CA_CERT_HASH" ]; then
    known=$(kubectl --kubeconfig /etc/kubernetes/kubelet.conf get node "$name" --ignore-not-found -o name) ||
      fail "the API at $FACT_API_ENDPOINT does not say whether it knows the node $name"
  fi
  if [ -z "$known" ]; then
    say "the cluster does not know the node $name: it joins anew"
    rm -f "$done_file" "$(digest_file settled)" "$(digest_file sans)" "$(digest_file network)"
  fi
fi
# A cluster that was there before this taskserv brought a network has one of its own, also for those that join it.
if { [ -e "$done_file" ] && [ ! -e "$(digest_file settled)" ]; } || [ "${FACT_NETWORK:-}" = other ]; then
  remember network other
fi
network=$TASKSERV_NETWORK
if remembered network other; then network=none; fi

# Where the API is reached by all. Once a cluster is there, as it says itself.
endpoint=${FACT_API_ENDPOINT:-$TASKSERV_CONTROL_PLANE_ENDPOINT}
if [ -n "$CLUSTER_ROLE" ] && [ -z "$endpoint" ]; then
  endpoint=${TASKSERV_API_ENDPOINT:-$(bracketed "$(host_address)"):6443}
  for file in $admin /etc/kubernetes/kubelet.conf; do
    if [ -s "$file" ]; then endpoint=$(sed -n 's,^ *server: https://,,p' "$file" | head -n 1); fi
  done
fi
if [ "$joins" = yes ] && [ ! -e "$done_file" ]; then
  [ -n "$endpoint" ] || fail 'a node that joins needs config.control_plane_endpoint'
  if [ -z "$ca_hash" ] && [ "$TASKSERV_UNSAFE_SKIP_CA_VERIFICATION" = false ]; then
    fail 'a node that joins needs config.ca_cert_hash'
  fi
  if [ "$role" = control-plane ] && [ -z "$certificate_key" ]; then
    fail 'a control plane that joins needs config.certificate_key'
  fi
fi
[ -z "$(sed 1d /proc/swaps)" ] || fail 'the kubelet does not run with swap: turn it off (swapoff -a, /etc/fstab)'

# What kubeadm settles when the cluster is made. "Changed" without an effect would be worse than a refusal.
settled="$TASKSERV_CLUSTER_NAME $TASKSERV_POD_SUBNET $TASKSERV_SERVICE_SUBNET $TASKSERV_NODE_IP $TASKSERV_SKIP_KUBE_PROXY
$TASKSERV_IMAGE_REPOSITORY $TASKSERV_NETWORK $TASKSERV_API_ENDPOINT"
if [ -e "$done_file" ] && [ -e "$(digest_file settled)" ] && ! remembered settled "$settled"; then
  settings='cluster_name, pod_subnet, service_subnet, node_ip, skip_kube_proxy, image_repository, network, api_endpoint'
  fail "these cannot be changed in a cluster that is there: $settings. Put them back, or delete the taskserv and create it anew"
fi

# As the vendor publishes them beside each file (<file>.sha256); taken over from kubespray's list.
vendor_sum() {
  case $TASKSERV_VERSION-$(host_architecture)-$1 in
    1.34.11-amd64-kubeadm) printf bd3cbe40aff6c7b3b939243ebd80dbd7da207c0e594cfdd434295bf553ea7351 ;;
    1.34.11-amd64-kubelet) printf 4777a226b2ba3c1d656254bcf3f7ad471bf210042f361094216e51ab4fa9b4b6 ;;
    1.34.11-amd64-kubectl) printf 8efbb9435132a190920eb65a47a8c1ecf755ad85ab57a600c9bedbab460bb7a8 ;;
    1.34.11-arm64-kubeadm) printf 1365b20b698151f432eb8f5a8ca53f0200e85af32392d31f40ffa901a73b694c ;;
    1.34.11-arm64-kubelet) printf f12879879481e9af46317c2c82a6dba7d59df78ed095e44e0399643df1c4c8ba ;;
    1.34.11-arm64-kubectl) printf 5b045a4712674c88a56fd98eef4285689738b7fbe8735e1b9ee3509521af5cb4 ;;
    1.33.10-amd64-kubeadm) printf e06fa8adac158ef8bb0bc05c0b64dcfab7abcd7950a27bb5c1b70d70ff98a874 ;;
    1.33.10-amd64-kubelet) printf ae9cc2e8603f53aedf922c989f3be262d443a6fb19f87e590b5edadbabbc9b07 ;;
    1.33.10-amd64-kubectl) printf f156acb753ee4366789ab7a663916eb580e7ee1b9e449bc9b052181db524e3f5 ;;
    1.33.10-arm64-kubeadm) printf c7d822a9517ccc6921f22447ad75d3f6edb88ca3a44e366057ad3cddc4e77922 ;;
    1.33.10-arm64-kubelet) printf 1e808ecedd61198887190bf472f1352004f97016b273fba827dd95f7efead806 ;;
    1.33.10-arm64-kubectl) printf e9494229893ccddc81065275c0e5f21167518ab939f0e95aecb649fb4b41c112 ;;
    1.32.11-amd64-kubeadm) printf 5e191b7329897a16ea87aed75b66f561e7243691620d6b792f34d488285484ce ;;
    1.32.11-amd64-kubelet) printf 02b25e87a3fe14e9ea74c10d3b1e204d12af30b8ce7ed11af2a985b49ddb0b83 ;;
    1.32.11-amd64-kubectl) printf 48581d0e808bd8b7d3c3fc014e86b170e25a987df04c8a879b982b28a5180815 ;;
    1.32.11-arm64-kubeadm) printf 0190c49b61b065409b1e99c70e5ec3c52576bf8902432fb2c97bf1d0d2777b69 ;;
    1.32.11-arm64-kubelet) printf 7d1c3aaae0dffa8d5c90bbaed49f25d32f98332801bde55cfea6efaead639491 ;;
    1.32.11-arm64-kubectl) printf b1c91c106ec20e61c5dff869e9a39e6af4fb96572bddaac9cce307dfa3ed2348 ;;
    1.31.13-amd64-kubeadm) printf e0c91c606e1402e943666f6fda8452140851a1b2bb4f69918dd7176e8d86845c ;;
    1.31.13-amd64-kubelet) printf b7733cb0e36031ab8f69cf3f73cc364730141b107d24ecb75bee5b3122dc6b6e ;;
    1.31.13-amd64-kubectl) printf ce427a4df97b044bf6beaf38be6b3aaafb1b5c782c406958b3c71ebb25a48fe3 ;;
    1.31.13-arm64-kubeadm) printf 30762e5a20eb8a4d52b278fe7d999fd76ab20b63b40cb1e60625bc73c6e11e96 ;;
    1.31.13-arm64-kubelet) printf 37e8f83b7bc4cb1b6f49d99cb0d23c2c692f9782abc4f03aad37cc7bd504af68 ;;
    1.31.13-arm64-kubectl) printf cfe055bd02650cd5c2687599069630cf4a602f1c99be63986a25b775752620db ;;
    1.30.11-amd64-kubeadm) printf 06ff7ff15b7fa9af60189fdece5f7c56efa8b637c38b4a498715ca2f04ccfcb2 ;;
    1.30.11-amd64-kubelet) printf 59177fc92e2b2bb988f7d8d39682ea9e3d9d883273c9c8b51b39502d9b965431 ;;
    1.30.11-amd64-kubectl) printf 228a8b2679f84de9192a1ac5ad527c9ab73b0f76c452ed74f11da812bbcfaa42 ;;
    1.30.11-arm64-kubeadm) printf 644f70389d6f5186685a2d94c0221b55a280a9ec14bd3f3609f008d9244c70e8 ;;
    1.30.11-arm64-kubelet) printf 2ead74deda3ae5ab2fac1e1476d5b4c81ad73cf6383c279b5781513b98e43f39 ;;
    1.30.11-arm64-kubectl) printf 11f86b29416f344b090c2581df4bc8a98ed7cc14a2bb28e46a6d4aa708af19f4 ;;
    1.29.7-amd64-kubeadm) printf 7699c6f06fbc8e813766b8237de69a095ad820fe484856ffd921a7894b5af605 ;;
    1.29.7-amd64-kubelet) printf f16329e64f5b2204c1cb906f694abebb7f6869d56e6e8b60b54afa0057006b84 ;;
    1.29.7-amd64-kubectl) printf e3df008ef60ea50286ea93c3c40a020e178a338cea64a185b4e21792d88c75d6 ;;
    1.29.7-arm64-kubeadm) printf d0ad904dc3823821c3920499fc151fc83fb6cb9e1c920e39173f96720ad0e053 ;;
    1.29.7-arm64-kubelet) printf f088079f26fb3bffc8a1c467e1caa5ad807023b63e70013e874163df87be6829 ;;
    1.29.7-arm64-kubectl) printf 7b6649aaa298be728c5fb7ccb65f98738a4e8bda0741afbd5a9ed9e488c0e725 ;;
    1.28.12-amd64-kubeadm) printf 3ffcf5100c6bca3dd0a6c317c744dd97fe497c7c4aefe468321171f940d34971 ;;
    1.28.12-amd64-kubelet) printf 4648ae155b1ab05ab8dbef417bde4d5acfcd5ad32e8d1e3209006b40c440a56c ;;
    1.28.12-amd64-kubectl) printf e8aee7c9206c00062ced394418a17994b58f279a93a1be1143b08afe1758a3a2 ;;
    1.28.12-arm64-kubeadm) printf e0d94607a036323e45a6866127bc7a374543e27f45f8fc0bf948a2452eab667f ;;
    1.28.12-arm64-kubelet) printf 8e28fda6ab1bd506ca4090a0a617aa29d9988c7e23711e70819497089ba67388 ;;
    1.28.12-arm64-kubectl) printf f7e01dfffebb1d5811c37d558f28eefd80cbfadc0b9783b0b0ebf37c40c5c891 ;;
    1.28.0-amd64-kubeadm) printf 12ea68bfef0377ccedc1a7c98a05ea76907decbcf1e1ec858a60a7b9b73211bb ;;
    1.28.0-amd64-kubelet) printf bfb6b977100963f2879a33e5fbaa59a5276ba829a957a6819c936e9c1465f981 ;;
    1.28.0-amd64-kubectl) printf 4717660fd1466ec72d59000bb1d9f5cdc91fac31d491043ca62b34398e0799ce ;;
    1.28.0-arm64-kubeadm) printf b9b473d2d9136559b19eb465006af77df45c09862cd7ce6673a33aae517ff5ab ;;
    1.28.0-arm64-kubelet) printf 05dd12e35783cab4960e885ec0e7d0e461989b94297e7bea9018ccbd15c4dce9 ;;
    1.28.0-arm64-kubectl) printf f5484bd9cac66b183c653abed30226b561f537d15346c605cc81d98095f1717c ;;
    *) : ;;
  esac
}
apt_install conntrack ethtool iproute2 iptables mount openssl socat

minor=$(printf '%s' "$TASKSERV_VERSION" | cut -d . -f 2)
program() {
  sum=$(lines "$TASKSERV_SHA256" | sed -n "s/^$1=//p")
  download "$TASKSERV_MIRROR/v$TASKSERV_VERSION/bin/linux/$(host_architecture)/$1" "${sum:-$(vendor_sum "$1")}" \
    "/usr/local/bin/$1"
  chmod 0755 "/usr/local/bin/$1"
}
apply_kubelet() {
  SERVICE_KILL_MODE=process SERVICE_NO_BLOCK=yes service_apply kubelet - root "$PROVISIONING_LIB/kubelet"
}
upgrading=no
if [ -e "$done_file" ] && [ "$(cat "$done_file")" != "$TASKSERV_VERSION" ]; then upgrading=yes; fi
if [ "$upgrading" = yes ] && [ "$joins" = yes ]; then
  # Of the API, which every node may ask: a kubelet must not be newer.
  served=$(kubectl --kubeconfig /etc/kubernetes/kubelet.conf version -o json |
    sed -n 's/.*"gitVersion": *"v[0-9]*\.\([0-9]*\)\..*/\1/p' | tail -n 1)
  [ "${served:-0}" -ge "$minor" ] || fail "the API is still at 1.${served:-?}: upgrade the first control plane before this node"
fi
program kubeadm
# On an upgrade the kubelet comes after the control plane: a failed upgrade must not leave it newer than its API.
if [ "$upgrading" = no ]; then
  program kubelet
  program kubectl
else
  clear_changed
fi
if [ "$minor" -lt 31 ] && ! command -v crictl >/dev/null; then
  # kubeadm pulls its images by it before 1.31; the distribution has none. Sums as the vendor publishes them.
  case $(host_architecture) in
    amd64) sum=3dd03954565808eaeb3a7ffc0e8cb7886a64a9aa94b2bfdfbdc6e2ed94842e49 ;;
    arm64) sum=3769043fc6018a9e1697fcb768bb89ecd429176bd71e849058916f79a46a07a8 ;;
    *) sum= ;;
  esac
  archive=/var/cache/provisioning/crictl.tar.gz
  download "$TASKSERV_CRICTL_MIRROR/v1.30.0/crictl-v1.30.0-linux-$(host_architecture).tar.gz" \
    "${TASKSERV_CRICTL_SHA256:-$sum}" "$archive"
  tar -xzf "$archive" -C /usr/local/bin crictl
  rm -f "$archive"
  remember crictl installed
fi

write_file /etc/modules-load.d/kubernetes.conf <<'CONF'
overlay
br_netfilter
CONF
write_file /etc/sysctl.d/90-kubernetes.conf <<'CONF'
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward = 1
CONF
# Either may be built into the kernel, or loaded by the machine that this container runs on.
grep -qw overlay /proc/filesystems || modprobe overlay || fail 'the kernel has no overlay file system'
[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || modprobe br_netfilter || fail 'the kernel has no br_netfilter'
sysctl --quiet --load /etc/sysctl.d/90-kubernetes.conf || fail 'the kernel does not take the settings that Kubernetes needs'

# The kubelet as kubeadm expects it: it writes the two environment files and the configuration.
write_file "$PROVISIONING_LIB/kubelet" 0755 <<'SCRIPT'
#!/bin/sh
# by provisioning; words of the environment files are arguments
while [ ! -f /var/lib/kubelet/config.yaml ]; do sleep 1; done
KUBELET_KUBEADM_ARGS=
KUBELET_EXTRA_ARGS=
[ ! -f /var/lib/kubelet/kubeadm-flags.env ] || . /var/lib/kubelet/kubeadm-flags.env
[ ! -f /etc/default/kubelet ] || . /etc/default/kubelet
exec /usr/local/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
  --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
SCRIPT
apply_kubelet

# v1beta4 came with 1.31; there, extra arguments are a list.
api=v1beta3
[ "$minor" -lt 31 ] || api=v1beta4
address=$TASKSERV_NODE_IP
if [ -n "$CLUSTER_ROLE" ]; then address=${TASKSERV_NODE_IP:-$(host_address)}; fi
node_ip=
if [ -n "$address" ]; then
  node_ip="  kubeletExtraArgs:
    node-ip: \"$address\""
  [ "$api" = v1beta3 ] || node_ip="  kubeletExtraArgs:
    - name: node-ip
      value: \"$address\""
fi
taints=
if [ "$role" = worker ] || [ "$TASKSERV_SCHEDULE_ON_CONTROL_PLANE" = true ]; then taints='  taints: []'; fi
registration="nodeRegistration:
  name: \"$name\"
  criSocket: $socket
$taints
$node_ip"
local_endpoint=
[ -z "$address" ] || local_endpoint="localAPIEndpoint:
  advertiseAddress: \"$address\""
sans=
[ -z "$TASKSERV_API_SERVER_SANS" ] || sans="apiServer:
  certSANs:
$(lines "$TASKSERV_API_SERVER_SANS" | sed 's/.*/    - "&"/')"
shared=
[ -z "$endpoint" ] || shared="controlPlaneEndpoint: \"$endpoint\""
proxy=
# In a container the kernel's table of connections is not ours to size.
if [ "$TASKSERV_SKIP_KUBE_PROXY" = false ] && [ ! -w /proc/sys/net/netfilter/nf_conntrack_max ]; then proxy="---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack:
  maxPerCore: 0"; fi
cluster="apiVersion: kubeadm.k8s.io/$api
kind: ClusterConfiguration
kubernetesVersion: v$TASKSERV_VERSION
clusterName: \"$TASKSERV_CLUSTER_NAME\"
imageRepository: \"$TASKSERV_IMAGE_REPOSITORY\"
$shared
$sans
networking:
  podSubnet: \"$TASKSERV_POD_SUBNET\"
  serviceSubnet: \"$TASKSERV_SERVICE_SUBNET\""

if [ "$joins" = yes ]; then
  control_plane=
  if [ "$role" = control-plane ]; then
    control_plane="controlPlane:
  certificateKey: \"$certificate_key\""
    [ -z "$address" ] || control_plane="$control_plane
$(printf '%s\n' "$local_endpoint" | sed 's/^/  /')"
  fi
  verification='unsafeSkipCAVerification: true'
  [ -z "$ca_hash" ] || verification="caCertHashes:
      - \"$ca_hash\""
  settings="apiVersion: kubeadm.k8s.io/$api
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: \"$endpoint\"
    token: \"$token\"
    $verification
$control_plane
$registration"
else
  tokens=
  [ -z "$token" ] || tokens="bootstrapTokens:
  - token: \"$token\"
    ttl: 0s"
  key=
  [ -z "$certificate_key" ] || key="certificateKey: \"$certificate_key\""
  skip=
  [ "$TASKSERV_SKIP_KUBE_PROXY" = false ] || skip='skipPhases:
  - addon/kube-proxy'
  settings="apiVersion: kubeadm.k8s.io/$api
kind: InitConfiguration
$tokens
$local_endpoint
$key
$skip
$registration
---
$cluster
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: $(if has_systemd; then printf systemd; else printf cgroupfs; fi)
$proxy"
fi
# The file of one that has joined holds what let it in, which is asked for only once.
if [ "$joins" = no ] || [ ! -e "$done_file" ]; then
  write_file /etc/kubernetes/provisioning.yaml 0600 <<CONF
# by provisioning; changes are lost at the next install
$(printf '%s\n' "$settings" | sed '/^$/d')
CONF
fi
clear_changed

if [ ! -e "$done_file" ]; then
  remember settled "$settled"
  # Of what a cut-off attempt left, kubeadm would say that it is there already.
  if [ -e /etc/kubernetes/kubelet.conf ] || [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
    say 'an earlier attempt was cut off: starting anew'
    service_remove kubelet -
    if [ "$joins" = yes ]; then
      # kubeadm lets no node join while one of its name is ready, which is seen some 40 s after its kubelet stopped.
      is_ready() {
        [ "$(kubectl --kubeconfig /etc/kubernetes/kubelet.conf --request-timeout=10s get node "$name" --ignore-not-found \
          -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
      }
      not_ready() { ! is_ready; }
      eventually 90 not_ready || say "the node $name is still ready in its cluster"
    fi
    kubeadm reset --force --cri-socket "$socket"
    apply_kubelet
  fi
  if [ "$joins" = yes ]; then
    kubeadm join --config /etc/kubernetes/provisioning.yaml || fail 'kubeadm join failed; the lines above say why'
  elif [ -n "$certificate_key" ]; then
    kubeadm init --config /etc/kubernetes/provisioning.yaml --upload-certs --skip-token-print \
      --skip-certificate-key-print || fail 'kubeadm init failed; the lines above say why'
  else
    kubeadm init --config /etc/kubernetes/provisioning.yaml --skip-token-print ||
      fail 'kubeadm init failed; the lines above say why'
  fi
  mkdir -p "${done_file%/*}"
  printf '%s\n' "$TASKSERV_VERSION" >"$done_file"
  remember sans "$TASKSERV_API_SERVER_SANS"
elif [ "$upgrading" = yes ]; then
  if [ "$joins" = no ]; then
    kubeadm upgrade apply --yes "v$TASKSERV_VERSION" || fail 'kubeadm upgrade failed; the lines above say why'
  else
    kubeadm upgrade node || fail 'kubeadm upgrade failed; the lines above say why'
  fi
  program kubelet
  program kubectl
  mark_changed restart
  apply_kubelet
  printf '%s\n' "$TASKSERV_VERSION" >"$done_file"
fi
remember settled "$settled"

if [ "$role" = control-plane ]; then
  eventually 120 api_ready || fail 'the Kubernetes API does not become ready on this control plane'
  if ! remembered sans "$TASKSERV_API_SERVER_SANS"; then
    # The API reads its certificate anew by itself.
    say 'renewing the certificate of the API for other names'
    printf 'apiVersion: kubeadm.k8s.io/%s\nkind: InitConfiguration\n%s\n---\n%s\n' "$api" "$local_endpoint" "$cluster" |
      sed '/^$/d' | (umask 077 && cat >/etc/kubernetes/provisioning-cluster.yaml)
    rm -f /etc/kubernetes/pki/apiserver.crt /etc/kubernetes/pki/apiserver.key
    kubeadm init phase certs apiserver --config /etc/kubernetes/provisioning-cluster.yaml ||
      fail 'kubeadm cannot make the certificate of the API; the lines above say why'
    rm -f /etc/kubernetes/provisioning-cluster.yaml
    remember sans "$TASKSERV_API_SERVER_SANS"
  fi
  taint=node-role.kubernetes.io/control-plane
  tainted=$(on_api get node "$name" -o 'jsonpath={.spec.taints[*].key}') || fail "the API does not know the node $name"
  case " $tainted " in
    *" $taint "*) if [ "$TASKSERV_SCHEDULE_ON_CONTROL_PLANE" = true ]; then on_api taint node "$name" "$taint-"; fi ;;
    *) if [ "$TASKSERV_SCHEDULE_ON_CONTROL_PLANE" = false ]; then on_api taint node "$name" "$taint=:NoSchedule"; fi ;;
  esac
fi

if [ -n "$CLUSTER_ROLE" ] && [ "$network" = vxlan ]; then
  if [ "$joins" = no ]; then
    on_api apply -f - >/dev/null <<'MANIFEST' || fail 'the API does not take the account of the network'
apiVersion: v1
kind: ServiceAccount
metadata: { name: pod-network, namespace: kube-system }
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: pod-network
  namespace: kube-system
  annotations: { kubernetes.io/service-account.name: pod-network }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: pod-network }
rules:
  - { apiGroups: [""], resources: [nodes], verbs: [get, list] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: pod-network }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pod-network }
subjects:
  - { kind: ServiceAccount, name: pod-network, namespace: kube-system }
MANIFEST
  fi
  network_token=${FACT_NETWORK_TOKEN:-}
  if [ -z "$network_token" ] && [ -s "$admin" ]; then
    network_token=$(on_api -n kube-system get secret pod-network -o 'jsonpath={.data.token}' | base64 -d)
  fi
  # One that has joined keeps what it got then.
  [ -z "$network_token" ] || write_file /etc/kubernetes/pod-network.conf 0600 <<CONF
apiVersion: v1
kind: Config
current-context: cluster
clusters: [{ name: cluster, cluster: { server: "https://$endpoint", certificate-authority: /etc/kubernetes/pki/ca.crt } }]
users: [{ name: pod-network, user: { token: "$network_token" } }]
contexts: [{ name: cluster, context: { cluster: cluster, user: pod-network } }]
CONF
  write_file "$PROVISIONING_LIB/pod-network" 0755 root:root restart <<'SCRIPT'
#!/bin/sh
# pod-network NODE ADDRESS POD_SUBNET   a bridge for the pods of this node, and a way to those of the others by VXLAN.
# By provisioning. The addresses of the tunnels' ends follow from the nodes': nobody has to agree on them.
set -u
node=$1 address=$2 subnet=$3 device=pod-vxlan
hardware() { printf '0e:50:%02x:%02x:%02x:%02x' $(printf '%s' "$1" | tr . ' '); }
nodes() {
  kubectl --kubeconfig /etc/kubernetes/pod-network.conf --request-timeout=10s get nodes \
    -o 'jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'
}
rule() { iptables -w -t "$1" -C "$2" $3 2>/dev/null || iptables -w -t "$1" -A "$2" $3; }
settle() {
  own=$(printf '%s\n' "$1" | awk -v node="$node" '$1 == node && $2 ~ "/" { print $2 }')
  # Given by the controllers a moment after the node has joined.
  [ -n "$own" ] || return 1
  if ! ip link show "$device" >/dev/null 2>&1; then
    ip link add "$device" address "$(hardware "$address")" type vxlan id 7301 local "$address" dstport 8472 nolearning
  fi
  ip address replace "${own%/*}/32" dev "$device"
  ip link set "$device" mtu 1450 up
  mkdir -p /etc/cni/net.d
  config=/etc/cni/net.d/10-provisioning.conflist
  cat >"$config.new" <<CONF
{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450,
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "$own" }]] }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
CONF
  if cmp -s "$config.new" "$config"; then rm -f "$config.new"; else mv -f "$config.new" "$config"; fi
  printf '%s\n' "$1" | while read -r other cidr to; do
    case $other-$cidr-$to in "$node"-* | *--* | *-) continue ;; esac
    bridge fdb replace "$(hardware "$to")" dev "$device" dst "$to" self permanent
    ip neighbour replace "${cidr%/*}" lladdr "$(hardware "$to")" dev "$device" nud permanent
    ip route replace "$cidr" via "${cidr%/*}" dev "$device" onlink
  done
  ip -o route show dev "$device" | while read -r cidr rest; do
    case $cidr in */*) printf '%s\n' "$1" | awk '{ print $2 }' | grep -Fqx "$cidr" || ip route delete "$cidr" dev "$device" ;; esac
  done
  rule filter FORWARD "-s $subnet -m comment --comment pod-network -j ACCEPT"
  rule filter FORWARD "-d $subnet -m comment --comment pod-network -j ACCEPT"
  rule nat POSTROUTING "-s $subnet ! -d $subnet -m comment --comment pod-network -j MASQUERADE"
}
while :; do
  if all=$(nodes); then settle "$all"; fi
  sleep 5
done
SCRIPT
  service_apply pod-network - root "$PROVISIONING_LIB/pod-network" "$name" "$address" "$TASKSERV_POD_SUBNET"
fi
if [ -s /etc/kubernetes/pki/ca.crt ] && [ "$joins" = no ]; then
  # What nodes that join check the cluster by (config.ca_cert_hash).
  say "ca_cert_hash $(ca_cert_hash)"
fi

#!/bin/sh
joins=no
if [ "$TASKSERV_ROLE" = worker ] || [ "$TASKSERV_JOIN" = true ]; then
  joins=yes
  [ -n "$TASKSERV_CONTROL_PLANE_ENDPOINT" ] || fail 'a node that joins needs config.control_plane_endpoint'
  if [ -z "$TASKSERV_CA_CERT_HASH" ] && [ "$TASKSERV_UNSAFE_SKIP_CA_VERIFICATION" = false ]; then
    fail 'a node that joins needs config.ca_cert_hash'
  fi
  if [ "$TASKSERV_ROLE" = control-plane ] && [ -z "$TASKSERV_CERTIFICATE_KEY" ]; then
    fail 'a control plane that joins needs config.certificate_key'
  fi
fi
[ -z "$(sed 1d /proc/swaps)" ] || fail 'the kubelet does not run with swap: turn it off (swapoff -a, /etc/fstab)'

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
apt_install conntrack ethtool iptables mount socat

for file in kubeadm kubelet kubectl; do
  sum=$(lines "$TASKSERV_SHA256" | sed -n "s/^$file=//p")
  download "$TASKSERV_MIRROR/v$TASKSERV_VERSION/bin/linux/$(host_architecture)/$file" "${sum:-$(vendor_sum "$file")}" \
    "/usr/local/bin/$file"
  chmod 0755 "/usr/local/bin/$file"
done

write_file /etc/modules-load.d/kubernetes.conf <<'CONF'
overlay
br_netfilter
CONF
write_file /etc/sysctl.d/90-kubernetes.conf <<'CONF'
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward = 1
CONF
modprobe overlay || fail 'the kernel has no overlay file system'
modprobe br_netfilter || fail 'the kernel has no br_netfilter'
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
SERVICE_KILL_MODE=process SERVICE_NO_BLOCK=yes service_apply kubelet - root "$PROVISIONING_LIB/kubelet"

minor=$(printf '%s' "$TASKSERV_VERSION" | cut -d . -f 2)
# v1beta4 came with 1.31; there, extra arguments are a list.
api=v1beta3
[ "$minor" -lt 31 ] || api=v1beta4
name=$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')
node_ip=
if [ -n "$TASKSERV_NODE_IP" ]; then
  node_ip="  kubeletExtraArgs:
    node-ip: \"$TASKSERV_NODE_IP\""
  [ "$api" = v1beta3 ] || node_ip="  kubeletExtraArgs:
    - name: node-ip
      value: \"$TASKSERV_NODE_IP\""
fi
taints=
if [ "$TASKSERV_ROLE" = worker ] || [ "$TASKSERV_SCHEDULE_ON_CONTROL_PLANE" = true ]; then taints='  taints: []'; fi
registration="nodeRegistration:
  name: \"$name\"
  criSocket: unix:///run/containerd/containerd.sock
$taints
$node_ip"

if [ "$joins" = yes ]; then
  control_plane=
  if [ "$TASKSERV_ROLE" = control-plane ]; then
    control_plane="controlPlane:
  certificateKey: \"$TASKSERV_CERTIFICATE_KEY\""
    [ -z "$TASKSERV_NODE_IP" ] || control_plane="$control_plane
  localAPIEndpoint:
    advertiseAddress: \"$TASKSERV_NODE_IP\""
  fi
  verification='unsafeSkipCAVerification: true'
  [ -z "$TASKSERV_CA_CERT_HASH" ] || verification="caCertHashes:
      - \"$TASKSERV_CA_CERT_HASH\""
  settings="apiVersion: kubeadm.k8s.io/$api
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: \"$TASKSERV_CONTROL_PLANE_ENDPOINT\"
    token: \"$TASKSERV_TOKEN\"
    $verification
$control_plane
$registration"
else
  endpoint=
  [ -z "$TASKSERV_NODE_IP" ] || endpoint="localAPIEndpoint:
  advertiseAddress: \"$TASKSERV_NODE_IP\""
  key=
  [ -z "$TASKSERV_CERTIFICATE_KEY" ] || key="certificateKey: \"$TASKSERV_CERTIFICATE_KEY\""
  skip=
  [ "$TASKSERV_SKIP_KUBE_PROXY" = false ] || skip='skipPhases:
  - addon/kube-proxy'
  sans=
  [ -z "$TASKSERV_API_SERVER_SANS" ] || sans="apiServer:
  certSANs:
$(lines "$TASKSERV_API_SERVER_SANS" | sed 's/.*/    - "&"/')"
  shared=
  [ -z "$TASKSERV_CONTROL_PLANE_ENDPOINT" ] || shared="controlPlaneEndpoint: \"$TASKSERV_CONTROL_PLANE_ENDPOINT\""
  settings="apiVersion: kubeadm.k8s.io/$api
kind: InitConfiguration
bootstrapTokens:
  - token: \"$TASKSERV_TOKEN\"
    ttl: 0s
$endpoint
$key
$skip
$registration
---
apiVersion: kubeadm.k8s.io/$api
kind: ClusterConfiguration
kubernetesVersion: v$TASKSERV_VERSION
clusterName: \"$TASKSERV_CLUSTER_NAME\"
imageRepository: \"$TASKSERV_IMAGE_REPOSITORY\"
$shared
$sans
networking:
  podSubnet: \"$TASKSERV_POD_SUBNET\"
  serviceSubnet: \"$TASKSERV_SERVICE_SUBNET\"
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: $(if has_systemd; then printf systemd; else printf cgroupfs; fi)"
fi
write_file /etc/kubernetes/provisioning.yaml 0600 <<CONF
# by provisioning; changes are lost at the next install
$(printf '%s\n' "$settings" | sed '/^$/d')
CONF
clear_changed

# Of what a cut-off attempt left, kubeadm would say that it is there already.
done_file=$PROVISIONING_STATE/kubernetes/joined
if [ ! -e "$done_file" ]; then
  if [ -e /etc/kubernetes/kubelet.conf ] || [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
    say 'an earlier attempt was cut off: starting anew'
    kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock
  fi
  if [ "$joins" = yes ]; then
    kubeadm join --config /etc/kubernetes/provisioning.yaml || fail 'kubeadm join failed; the lines above say why'
  elif [ -n "$TASKSERV_CERTIFICATE_KEY" ]; then
    kubeadm init --config /etc/kubernetes/provisioning.yaml --upload-certs --skip-token-print \
      --skip-certificate-key-print || fail 'kubeadm init failed; the lines above say why'
  else
    kubeadm init --config /etc/kubernetes/provisioning.yaml --skip-token-print ||
      fail 'kubeadm init failed; the lines above say why'
  fi
  mkdir -p "${done_file%/*}"
  printf '%s\n' "$TASKSERV_VERSION" >"$done_file"
elif [ "$(cat "$done_file")" != "$TASKSERV_VERSION" ]; then
  if [ "$joins" = no ]; then
    kubeadm upgrade apply --yes "v$TASKSERV_VERSION" || fail 'kubeadm upgrade failed; the lines above say why'
  else
    kubeadm upgrade node || fail 'kubeadm upgrade failed; the lines above say why'
  fi
  mark_changed restart
  service_apply kubelet - root "$PROVISIONING_LIB/kubelet"
  printf '%s\n' "$TASKSERV_VERSION" >"$done_file"
fi
if [ -s /etc/kubernetes/pki/ca.crt ] && [ "$joins" = no ]; then
  # What nodes that join check the cluster by (config.ca_cert_hash): the SHA-256 of the CA's public key.
  hash=$(openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum)
  say "ca_cert_hash sha256:${hash%% *}"
fi

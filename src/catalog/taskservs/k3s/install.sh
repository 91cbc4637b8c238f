#!/bin/sh
if [ "$TASKSERV_ROLE" = agent ] && [ -z "$TASKSERV_SERVER_URL" ]; then fail 'an agent needs config.server_url'; fi
if [ "$TASKSERV_CLUSTER_INIT" = true ] && [ -n "$TASKSERV_SERVER_URL" ]; then
  fail 'config.cluster_init is for the first server, config.server_url for all others'
fi
apt_install iptables
case $(host_architecture) in
  amd64) file=k3s ;;
  arm64) file=k3s-arm64 ;;
  armhf) file=k3s-armhf ;;
  *) fail "k3s is not made for $(host_architecture)" ;;
esac
# A version holds a "+", which is a space to some servers.
release=$(printf '%s' "$TASKSERV_VERSION" | sed 's/+/%2B/')
program=/usr/local/bin/k3s
download "$TASKSERV_MIRROR/$release/$file" "$TASKSERV_SHA256" "$program"
chmod 0755 "$program"
for name in kubectl crictl ctr; do
  [ -e "/usr/local/bin/$name" ] || [ -e "/usr/bin/$name" ] || ln -s k3s "/usr/local/bin/$name"
done

list() { lines "$2" | sed 's/.*/  - "&"/' | sed "1i $1:"; }
settings() {
  printf '# by provisioning; changes are lost at the next install\n'
  printf 'token: "%s"\n' "$TASKSERV_TOKEN"
  [ -z "$TASKSERV_SERVER_URL" ] || printf 'server: "%s"\n' "$TASKSERV_SERVER_URL"
  [ -z "$TASKSERV_NODE_IP" ] || printf 'node-ip: "%s"\n' "$TASKSERV_NODE_IP"
  [ -z "$TASKSERV_NODE_LABELS" ] || list node-label "$TASKSERV_NODE_LABELS"
  if [ "$TASKSERV_ROLE" = server ]; then
    [ "$TASKSERV_CLUSTER_INIT" = false ] || printf 'cluster-init: true\n'
    printf 'write-kubeconfig-mode: "0600"\n'
    printf 'cluster-cidr: "%s"\nservice-cidr: "%s"\n' "$TASKSERV_CLUSTER_CIDR" "$TASKSERV_SERVICE_CIDR"
    printf 'flannel-backend: "%s"\n' "$TASKSERV_FLANNEL_BACKEND"
    if [ "$TASKSERV_FLANNEL_BACKEND" = none ]; then printf 'disable-network-policy: true\n'; fi
    [ -z "$TASKSERV_TLS_SAN" ] || list tls-san "$TASKSERV_TLS_SAN"
    [ -z "$TASKSERV_DISABLE" ] || list disable "$TASKSERV_DISABLE"
  fi
}
settings=$(settings)
write_file /etc/rancher/k3s/config.yaml 0600 <<CONF
$settings
CONF

case $TASKSERV_ROLE in
  server) service_name=k3s other=k3s-agent ;;
  *) service_name=k3s-agent other=k3s ;;
esac
[ ! -e "$PROVISIONING_ETC/services/$other" ] || fail "$other runs on this host; delete that taskserv first"
# The kubelet's children outlive a restart of it, as the vendor's own unit has it.
export SERVICE_KILL_MODE=process SERVICE_DELEGATE=yes SERVICE_NO_BLOCK=yes
SERVICE_PREPARE='modprobe br_netfilter 2>/dev/null || true
modprobe overlay 2>/dev/null || true' service_apply "$service_name" - root "$program" "$TASKSERV_ROLE"

#!/bin/sh
# On a control plane, before another node joins: what it needs for that, good for half an hour.
own=$(mktemp) config=$(mktemp)
trap 'rm -f "$own" "$config"' EXIT
# Of its own API: the one by which all reach the cluster may be that of a control plane that is down.
sed 's,^\( *\)server: .*,\1server: https://localhost:6443\n\1tls-server-name: kubernetes,' /etc/kubernetes/admin.conf >"$own"
export KUBECONFIG="$own"
lower() { printf '%s' "$1" | tr '[:upper:]' '[:lower:]'; }
peer=$(lower "$PEER_NAME")
ready() { [ "$(kubectl get --raw /readyz)" = ok ]; }
eventually 60 ready || fail "the Kubernetes API is not ready on $HOST_NAME, so $PEER_NAME cannot join"

status=$(kubectl get node "$peer" --ignore-not-found -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
if [ "$status" = True ]; then
  say "$PEER_NAME is in the cluster and ready: it stays there"
else
  # A node of that name that was lost, with all that is to run on it.
  kubectl delete node "$peer" --ignore-not-found >/dev/null
fi
fact API_ENDPOINT "$(sed -n 's,^ *server: https://,,p' /etc/kubernetes/admin.conf | head -n 1)"
fact JOIN_TOKEN "$(kubeadm token create --ttl 30m --kubeconfig "$own")"
hash=$(openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum)
fact CA_CERT_HASH "sha256:${hash%% *}"
if remembered network other; then
  fact NETWORK other
elif [ "$TASKSERV_NETWORK" = vxlan ]; then
  fact NETWORK_TOKEN "$(kubectl -n kube-system get secret pod-network -o 'jsonpath={.data.token}' | base64 -d)"
fi
[ "$PEER_ROLE" = control-plane ] || exit 0

etcd() {
  kubectl -n kube-system exec "etcd-$(lower "$HOST_NAME")" -- etcdctl \
    --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \
    --key /etc/kubernetes/pki/etcd/server.key "$@" </dev/null
}
# etcd lets none in while one is missing: what a lost control plane of that name was, or one that is no member any more.
# Who answers stays, whatever it is called.
members=$(etcd member list) || fail "etcd on $HOST_NAME does not answer: is the majority of its members up?"
planes=$(lower "$(lines "$CLUSTER_MEMBERS" | awk '$2 == "control-plane" { print $1 }')")
printf '%s\n' "$members" | awk -F ', ' '{ print $1, $3 == "" ? "-" : $3, $5 == "" ? "-" : $5 }' |
  while read -r id name url; do
    if [ "$name" = "$peer" ]; then
      [ "$status" != True ] || continue
    elif printf '%s\n' "$planes" | grep -Fqx -e "$name"; then
      continue
    fi
    if [ "$url" != - ] && etcd --endpoints "$url" endpoint health >/dev/null 2>&1; then continue; fi
    say "etcd forgets its member $name ($id), which does not answer"
    etcd member remove "$id" || fail "etcd does not let its member $name go: is the majority of its members up?"
  done

key=$(openssl rand -hex 32)
minor=$(printf '%s' "$TASKSERV_VERSION" | cut -d . -f 2)
api=v1beta3
[ "$minor" -lt 31 ] || api=v1beta4
# A file that only root reads: an argument could be seen by everybody on the host.
printf 'apiVersion: kubeadm.k8s.io/%s\nkind: InitConfiguration\ncertificateKey: "%s"\n---\napiVersion: kubeadm.k8s.io/%s\nkind: ClusterConfiguration\nkubernetesVersion: v%s\n' \
  "$api" "$key" "$api" "$TASKSERV_VERSION" >"$config"
kubeadm init phase upload-certs --upload-certs --skip-certificate-key-print --config "$config" --kubeconfig "$own" >/dev/null ||
  fail 'kubeadm cannot leave the certificates for further control planes'
fact CERTIFICATE_KEY "$key"

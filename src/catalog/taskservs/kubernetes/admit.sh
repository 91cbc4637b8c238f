#!/bin/sh
# On a control plane, before another node joins: what it needs for that, good for half an hour.
export KUBECONFIG=/etc/kubernetes/admin.conf
peer=$(printf '%s' "$PEER_NAME" | tr '[:upper:]' '[:lower:]')
ready() { [ "$(kubectl get --raw /readyz)" = ok ]; }
eventually 60 ready || fail "the Kubernetes API is not ready on $HOST_NAME, so $PEER_NAME cannot join"

# A node of that name that was lost: kubeadm would refuse to join one that is there already.
kubectl delete node "$peer" --ignore-not-found >/dev/null
fact API_ENDPOINT "$(sed -n 's,^ *server: https://,,p' "$KUBECONFIG" | head -n 1)"
fact JOIN_TOKEN "$(kubeadm token create --ttl 30m)"
hash=$(openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum)
fact CA_CERT_HASH "sha256:${hash%% *}"
if [ "$TASKSERV_NETWORK" = vxlan ]; then
  fact NETWORK_TOKEN "$(kubectl -n kube-system get secret pod-network -o 'jsonpath={.data.token}' | base64 -d)"
fi
[ "$PEER_ROLE" = control-plane ] || exit 0

etcd() {
  kubectl -n kube-system exec "etcd-$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')" -- etcdctl \
    --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \
    --key /etc/kubernetes/pki/etcd/server.key "$@"
}
# The member that a lost control plane of that name was: etcd lets no second one in while one is missing.
member=$(etcd member list | awk -F ', ' -v name="$peer" '$3 == name { print $1 }')
[ -z "$member" ] || etcd member remove "$member"

key=$(openssl rand -hex 32)
minor=$(printf '%s' "$TASKSERV_VERSION" | cut -d . -f 2)
api=v1beta3
[ "$minor" -lt 31 ] || api=v1beta4
config=$(mktemp)
trap 'rm -f "$config"' EXIT
# A file that only root reads: an argument could be seen by everybody on the host.
printf 'apiVersion: kubeadm.k8s.io/%s\nkind: InitConfiguration\ncertificateKey: "%s"\n---\napiVersion: kubeadm.k8s.io/%s\nkind: ClusterConfiguration\nkubernetesVersion: v%s\n' \
  "$api" "$key" "$api" "$TASKSERV_VERSION" >"$config"
kubeadm init phase upload-certs --upload-certs --skip-certificate-key-print --config "$config" >/dev/null ||
  fail 'kubeadm cannot leave the certificates for further control planes'
fact CERTIFICATE_KEY "$key"

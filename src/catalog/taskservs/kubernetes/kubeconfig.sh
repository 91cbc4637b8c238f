#!/bin/sh
# On a control plane: a way into the cluster for one caller, with a certificate of some hours. Nothing of it stays here.
admin=/etc/kubernetes/admin.conf
[ -s "$admin" ] || fail "$HOST_NAME is no control plane of a cluster"
own=$(mktemp) config=$(mktemp)
trap 'rm -f "$own" "$config"' EXIT
# Of its own API: the one by which all reach the cluster may be that of a control plane that is down.
sed 's,^\( *\)server: .*,\1server: https://localhost:6443\n\1tls-server-name: kubernetes,' "$admin" >"$own"
export KUBECONFIG="$own"
ready() { [ "$(kubectl get --raw /readyz)" = ok ]; }
eventually 20 ready || fail "the Kubernetes API is not ready on $HOST_NAME"
# Whose certificates name this group administers the cluster for as long as this says so.
kubectl apply -f - >/dev/null <<'MANIFEST' || fail 'the API does not take the binding of the callers'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: provisioning-callers }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin }
subjects:
  - { apiGroup: rbac.authorization.k8s.io, kind: Group, name: "provisioning:callers" }
MANIFEST
kubectl -n kube-system get configmap kubeadm-config -o 'jsonpath={.data.ClusterConfiguration}' >"$config" ||
  fail 'the cluster does not tell its configuration'
made=$(kubeadm kubeconfig user --config "$config" --client-name "$CALLER_NAME" --org provisioning:callers \
  --validity-period "${CALLER_HOURS}h") || fail 'kubeadm makes no kubeconfig; the lines above say why'
fact KUBECONFIG "$made"

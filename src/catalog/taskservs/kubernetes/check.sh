#!/bin/sh
name=$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')
kubelet() { [ "$(http_get http://127.0.0.1:10248/healthz)" = ok ]; }
eventually 60 kubelet || fail 'the kubelet is not healthy'
if [ "${CLUSTER_ROLE:-$TASKSERV_ROLE}" = worker ]; then
  [ -s /etc/kubernetes/kubelet.conf ] || fail 'the node has not joined its cluster'
  export KUBECONFIG=/etc/kubernetes/kubelet.conf
  api() { kubectl "$@"; }
else
  export KUBECONFIG=/etc/kubernetes/admin.conf
  # Its own API: the one by which all reach the cluster may be that of another control plane.
  api() { kubectl --server https://localhost:6443 --tls-server-name kubernetes "$@"; }
  ready() { [ "$(api get --raw /readyz)" = ok ]; }
  eventually 120 ready || fail 'the Kubernetes API is not ready on this control plane'
fi
node_status() { api get node "$name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
eventually 15 node_status >/dev/null || fail "the cluster does not know the node $name"
if [ -n "$CLUSTER_ROLE" ] && [ "$TASKSERV_NETWORK" != none ] && ! remembered network other; then
  node_ready() { [ "$(node_status)" = True ]; }
  eventually 90 node_ready || fail "the node $name is not ready: $(api get node "$name" \
    -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}')"
fi
# Without a network of its own a node waits for one, which is another taskserv; that it is known is what counts then.
say "Kubernetes $(api version -o json | sed -n 's/.*"gitVersion": *"\([^"]*\)".*/\1/p' | tail -n 1); node $name: Ready=$(node_status)"

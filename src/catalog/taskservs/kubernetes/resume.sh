#!/bin/sh
# On a control plane: lets pods onto a node again that drain.sh took them off. By its own API, as drain.sh.
export KUBECONFIG=/etc/kubernetes/admin.conf
api() { kubectl --server https://localhost:6443 --tls-server-name kubernetes "$@"; }
peer=$(printf '%s' "$PEER_NAME" | tr '[:upper:]' '[:lower:]')
ready() { [ "$(api get --raw /readyz)" = ok ]; }
eventually 60 ready || fail "the Kubernetes API is not ready on $HOST_NAME"
drained=$(api get node "$peer" -o 'jsonpath={.metadata.annotations.provisioning/drained}')
[ "$drained" = yes ] || exit 0
api uncordon "$peer"
api annotate node "$peer" provisioning/drained- >/dev/null

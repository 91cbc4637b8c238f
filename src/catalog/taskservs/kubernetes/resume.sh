#!/bin/sh
# On a control plane: lets pods onto a node again that drain.sh took them off.
export KUBECONFIG=/etc/kubernetes/admin.conf
peer=$(printf '%s' "$PEER_NAME" | tr '[:upper:]' '[:lower:]')
[ "$(kubectl get node "$peer" -o 'jsonpath={.metadata.annotations.provisioning/drained}')" = yes ] || exit 0
kubectl uncordon "$peer"
kubectl annotate node "$peer" provisioning/drained- >/dev/null

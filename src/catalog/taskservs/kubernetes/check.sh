#!/bin/sh
kubelet() { [ "$(http_get http://127.0.0.1:10248/healthz)" = ok ]; }
eventually 60 kubelet || fail 'the kubelet is not healthy'
if [ "$TASKSERV_ROLE" = worker ]; then
  [ -s /etc/kubernetes/kubelet.conf ] || fail "the node has not joined $TASKSERV_CONTROL_PLANE_ENDPOINT"
  say "the kubelet serves $TASKSERV_CONTROL_PLANE_ENDPOINT"
  exit 0
fi
export KUBECONFIG=/etc/kubernetes/admin.conf
ready() { [ "$(kubectl get --raw /readyz)" = ok ]; }
eventually 180 ready || fail 'the Kubernetes API is not ready on this control plane'
# A node is not Ready before there is a network plugin, which is another taskserv; that it is known is what counts here.
name=$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')
status=$(kubectl get node "$name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') ||
  fail "the cluster does not know the node $name"
say "Kubernetes $(kubectl version -o json | sed -n 's/.*"gitVersion": *"\([^"]*\)".*/\1/p' | tail -n 1) is ready; node $name: Ready=$status"

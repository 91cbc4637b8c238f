#!/bin/sh
if [ "$TASKSERV_ROLE" = server ]; then
  ready() { [ "$(k3s kubectl get --raw /readyz)" = ok ]; }
  eventually 120 ready || fail 'the Kubernetes API is not ready on this server'
  node_ready() {
    k3s kubectl get node "$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')" \
      -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -x True >/dev/null
  }
  # Without a network plugin of its own a node waits for another one, as for cilium.
  if [ "$TASKSERV_FLANNEL_BACKEND" != none ]; then eventually 50 node_ready || fail 'the node is not ready'; fi
  say "k3s $(k3s --version | awk 'NR == 1 { print $3 }') is ready; nodes: $(k3s kubectl get nodes --no-headers | wc -l)"
else
  kubelet() { [ "$(http_get http://127.0.0.1:10248/healthz)" = ok ]; }
  eventually 120 kubelet || fail 'the kubelet is not healthy on this agent'
  # Written only once the server has let the agent in.
  [ -s /var/lib/rancher/k3s/agent/kubelet.kubeconfig ] || fail "the agent has not joined $TASKSERV_SERVER_URL"
  say "k3s $(k3s --version | awk 'NR == 1 { print $3 }') serves $TASKSERV_SERVER_URL"
fi

#!/bin/sh
# On a control plane: takes the pods off a node before it leaves or gets another version.
export KUBECONFIG=/etc/kubernetes/admin.conf
peer=$(printf '%s' "$PEER_NAME" | tr '[:upper:]' '[:lower:]')
ready() { [ "$(kubectl get --raw /readyz)" = ok ]; }
eventually 60 ready || fail "the Kubernetes API is not ready on $HOST_NAME"
known=$(kubectl get node "$peer" --ignore-not-found -o name)
if [ -n "$known" ]; then
  # What resume.sh goes by: a node that somebody else has cordoned stays so.
  [ "$(kubectl get node "$peer" -o 'jsonpath={.spec.unschedulable}')" = true ] ||
    kubectl annotate node "$peer" --overwrite provisioning/drained=yes >/dev/null
  status=$(kubectl get node "$peer" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
  if [ "$status" = True ]; then
    kubectl drain "$peer" --ignore-daemonsets --delete-emptydir-data --force --timeout=540s ||
      fail "$PEER_NAME cannot be drained; the lines above name the pods that stay and why"
  else
    say "$PEER_NAME is not ready: nothing runs there that could be moved"
  fi
fi
[ "$PEER_LEAVES" = yes ] || exit 0
if [ "$PEER_ROLE" = control-plane ]; then
  etcd() {
    kubectl -n kube-system exec "etcd-$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')" -- etcdctl \
      --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \
      --key /etc/kubernetes/pki/etcd/server.key "$@"
  }
  members=$(etcd member list) || fail "etcd on $HOST_NAME does not answer"
  member=$(printf '%s\n' "$members" | awk -F ', ' -v name="$peer" '$3 == name { print $1 }')
  [ -z "$member" ] || etcd member remove "$member" || fail "etcd does not let $PEER_NAME go: is the majority of its members up?"
fi
kubectl delete node "$peer" --ignore-not-found

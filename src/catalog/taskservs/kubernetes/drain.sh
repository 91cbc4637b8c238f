#!/bin/sh
# On a control plane: takes the pods off a node before it leaves or gets another version.
export KUBECONFIG=/etc/kubernetes/admin.conf
# Its own API: the one by which all reach the cluster may be that of a control plane that is down.
api() { kubectl --server https://localhost:6443 --tls-server-name kubernetes "$@"; }
peer=$(printf '%s' "$PEER_NAME" | tr '[:upper:]' '[:lower:]')
ready() { [ "$(api get --raw /readyz)" = ok ]; }
eventually 60 ready || fail "the Kubernetes API is not ready on $HOST_NAME"
known=$(api get node "$peer" --ignore-not-found -o name)
if [ -n "$known" ]; then
  # What resume.sh goes by: a node that somebody else has cordoned stays so.
  [ "$(api get node "$peer" -o 'jsonpath={.spec.unschedulable}')" = true ] ||
    api annotate node "$peer" --overwrite provisioning/drained=yes >/dev/null
  status=$(api get node "$peer" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
  if [ "$status" = True ]; then
    api drain "$peer" --ignore-daemonsets --delete-emptydir-data --force --timeout=540s ||
      fail "$PEER_NAME cannot be drained; the lines above name the pods that stay and why"
  else
    say "$PEER_NAME is not ready: nothing runs there that could be moved"
  fi
fi
[ "$PEER_LEAVES" = yes ] || exit 0
if [ "$PEER_ROLE" = control-plane ]; then
  etcd() {
    api -n kube-system exec "etcd-$(printf '%s' "$HOST_NAME" | tr '[:upper:]' '[:lower:]')" -- etcdctl \
      --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \
      --key /etc/kubernetes/pki/etcd/server.key "$@"
  }
  members=$(etcd member list) || fail "etcd on $HOST_NAME does not answer"
  member=$(printf '%s\n' "$members" | awk -F ', ' -v name="$peer" '$3 == name { print $1 }')
  [ -z "$member" ] || etcd member remove "$member" || fail "etcd does not let $PEER_NAME go: is the majority of its members up?"
fi
api delete node "$peer" --ignore-not-found
# What DaemonSets run there is not drained, and Services would go on sending requests to it for a minute.
left=$(api get pods --all-namespaces --field-selector "spec.nodeName=$peer" \
  -o 'jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}')
lines "$left" | while read -r namespace pod; do
  api --namespace "$namespace" delete pod "$pod" --ignore-not-found --force --grace-period=0 </dev/null
done

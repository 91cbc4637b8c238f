#!/bin/sh
export ETCDCTL_API=3
endpoint=http://127.0.0.1:$TASKSERV_CLIENT_PORT
key=provisioning/check/$HOST_NAME
etcd() { etcdctl --endpoints="$endpoint" --command-timeout=5s "$@"; }

# A write needs the majority of a cluster; one that was started just now may still be electing.
writes() { etcd put "$key" "$$" >/dev/null; }
seconds=15
[ -z "$TASKSERV_INITIAL_CLUSTER" ] || seconds=60
eventually "$seconds" writes || fail "etcd takes no key at $endpoint: is the majority of its members up?"
[ "$(etcd get --print-value-only "$key")" = "$$" ] || fail 'etcd does not give back what was written'
etcd del "$key" >/dev/null
members=$(etcd member list | wc -l)
wanted=$(lines "$TASKSERV_INITIAL_CLUSTER" | wc -l)
if [ "$TASKSERV_INITIAL_CLUSTER_STATE" = new ] && [ "$wanted" -gt "$members" ]; then
  fail "the cluster has $members members, $wanted are wanted"
fi
say "etcd $(etcd version | sed -n 's/^etcdctl version: //p') serves keys at $endpoint, $members members"

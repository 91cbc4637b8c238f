#!/bin/sh
containerd_() { ctr --namespace provisioning-check "$@"; }
eventually 15 ctr version >/dev/null || fail 'containerd does not answer on /run/containerd/containerd.sock'
runc --version >/dev/null || fail 'runc does not run'
# A blob in and out again: its store works, and leaves nothing.
digest=$(printf 'hello %s' "$$" | sha256sum | cut -d ' ' -f 1)
printf 'hello %s' "$$" | containerd_ content ingest --expected-digest "sha256:$digest" "provisioning-check-$$" ||
  fail 'containerd stores nothing'
[ "$(containerd_ content get "sha256:$digest")" = "hello $$" ] || fail 'containerd does not give back what was stored'
containerd_ content delete "sha256:$digest" >/dev/null
state=$(ctr plugins ls | awk -v id="$TASKSERV_SNAPSHOTTER" '$1 ~ /snapshotter/ && $2 == id { print $NF }')
[ "$state" = ok ] || fail "the snapshotter $TASKSERV_SNAPSHOTTER does not work here (${state:-unknown}); choose another one"
say "containerd $(ctr version | awk '/Server/ { server = 1 } server && /Version/ { print $2 }') works"

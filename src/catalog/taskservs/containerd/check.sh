#!/bin/sh
containerd_() { ctr --namespace provisioning-check "$@"; }
eventually 15 ctr version >/dev/null || fail 'containerd does not answer on /run/containerd/containerd.sock'
runc --version >/dev/null || fail 'runc does not run'
# A blob in and out again: its store works, and leaves nothing.
digest=$(printf 'hello %s' "$$" | sha256sum | cut -d ' ' -f 1)
keeps() {
  printf 'hello %s' "$$" | containerd_ content ingest --expected-digest "sha256:$digest" "provisioning-check-$$" || return 1
  [ "$(containerd_ content get "sha256:$digest")" = "hello $$" ]
}
# Nothing refers to the blob: containerd may collect it between the two, so it is tried again.
eventually 15 keeps || fail 'containerd does not give back what was stored'
# Gone already where it was collected.
containerd_ content delete "sha256:$digest" >/dev/null 2>&1 || true
state=$(ctr plugins ls | awk -v id="$TASKSERV_SNAPSHOTTER" '$1 ~ /snapshotter/ && $2 == id { print $NF }')
[ "$state" = ok ] || fail "the snapshotter $TASKSERV_SNAPSHOTTER does not work here (${state:-unknown}); choose another one"
say "containerd $(ctr version | awk '/Server/ { server = 1 } server && /Version/ { print $2 }') works"

#!/bin/sh
version=$(podman info --format '{{.Version.Version}}') || fail 'podman does not work on this host; the lines above say why'
# An image of one small layer in and out again: storage works, and nothing is left.
image=localhost/provisioning-check:$$
folder=$(mktemp -d)
trap 'rm -rf "$folder"; podman rmi --force "$image" >/dev/null 2>&1 || true' EXIT
printf hello >"$folder/hello"
tar -C "$folder" -cf - hello | podman import --quiet - "$image" >/dev/null || fail 'podman stores no image'
container=$(podman create --network none "$image" /hello) || fail 'podman creates no container'
content=$(podman cp "$container:/hello" - | tar -xOf -) || fail 'podman does not give back what was stored'
podman rm "$container" >/dev/null
[ "$content" = hello ] || fail 'podman does not give back what was stored'
if [ "$TASKSERV_API_SOCKET" = true ]; then
  ping() { http_get --unix-socket /run/podman/podman.sock http://podman/_ping; }
  [ "$(eventually 10 ping)" = OK ] || fail 'the API does not answer on /run/podman/podman.sock'
fi
say "podman $version works"

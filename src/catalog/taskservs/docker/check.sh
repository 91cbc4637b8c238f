#!/bin/sh
api() { http_get --unix-socket /run/docker.sock "http://docker$1"; }
answers() { [ "$(api /_ping)" = OK ]; }
eventually 20 answers || fail 'Docker does not answer on /run/docker.sock'
# An image of one small layer in and out again: storage works, and nothing is left.
image=provisioning-check:$$
folder=$(mktemp -d)
trap 'rm -rf "$folder"; docker rmi --force "$image" >/dev/null 2>&1 || true' EXIT
printf hello >"$folder/hello"
tar -C "$folder" -cf - hello | docker import - "$image" >/dev/null || fail 'Docker stores no image'
container=$(docker create --network none "$image" /hello) || fail 'Docker creates no container'
content=$(docker cp "$container:/hello" - | tar -xOf -) || fail 'Docker does not give back what was stored'
docker rm "$container" >/dev/null
[ "$content" = hello ] || fail 'Docker does not give back what was stored'
say "Docker $(docker version --format '{{.Server.Version}}') works"

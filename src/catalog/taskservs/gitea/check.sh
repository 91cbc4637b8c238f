#!/bin/sh
base=http://$(local_address "$TASKSERV_BIND"):$TASKSERV_PORT
# Asks the database and the cache too.
eventually 30 http_get "$base/api/healthz" >/dev/null || fail "Gitea is not healthy at $base"
version=$(http_get "$base/api/v1/version" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p')
[ -n "$version" ] || fail "something else answers at $base"
if [ -n "$TASKSERV_ADMIN_USER" ]; then
  printf 'user = "%s:%s"\n' "$TASKSERV_ADMIN_USER" "$TASKSERV_ADMIN_PASSWORD" |
    http_get --config - "$base/api/v1/user" >/dev/null || fail "$TASKSERV_ADMIN_USER cannot log in"
fi
say "Gitea $version answers at $base"

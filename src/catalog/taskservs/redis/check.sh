#!/bin/sh
# The password goes by the environment: an argument could be seen by everybody on the host.
[ -z "$TASKSERV_PASSWORD" ] || export REDISCLI_AUTH="$TASKSERV_PASSWORD"
address=$(lines "$TASKSERV_BIND" | head -n 1 | sed 's/^-//; s/^[*]$/127.0.0.1/; s/^0[.]0[.]0[.]0$/127.0.0.1/')
redis() { redis-cli --no-auth-warning -h "$address" -p "$TASKSERV_PORT" "$@"; }

answers() {
  answer=$(redis ping) || return 1
  [ "$answer" = PONG ] || { printf '%s\n' "$answer"; return 1; }
}
eventually 10 answers || fail "Redis does not answer PING on $address:$TASKSERV_PORT"
version=$(redis info server | sed -n 's/^redis_version:\([0-9.]*\).*/\1/p')
if [ -z "$TASKSERV_REPLICA_OF" ]; then
  # PX: the key goes away by itself when the check is cut off.
  [ "$(redis set provisioning:check "$$" px 10000)" = OK ] || fail 'Redis takes no writes'
  [ "$(redis get provisioning:check)" = "$$" ] || fail 'Redis does not give back what was written'
  redis del provisioning:check >/dev/null
fi
say "Redis $version answers PONG on $address:$TASKSERV_PORT"

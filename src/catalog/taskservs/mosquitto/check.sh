#!/bin/sh
address=$(local_address "$TASKSERV_BIND" | tr -d '[]')
topic=provisioning/check/$$
# The clients read the login from a file: an argument could be seen by everybody on the host.
XDG_CONFIG_HOME=$(mktemp -d)
export XDG_CONFIG_HOME
trap 'rm -rf "$XDG_CONFIG_HOME"' EXIT
if [ -n "$TASKSERV_USER" ]; then
  printf -- '-u %s\n-P %s\n' "$TASKSERV_USER" "$TASKSERV_PASSWORD" >"$XDG_CONFIG_HOME/mosquitto_pub"
  cp "$XDG_CONFIG_HOME/mosquitto_pub" "$XDG_CONFIG_HOME/mosquitto_sub"
fi
publish() { mosquitto_pub -h "$address" -p "$TASKSERV_PORT" -q 1 -r -t "$topic" "$@"; }

# Retained, so that the subscriber need not come first.
eventually 10 publish -m hello || fail "mosquitto takes no message on $address:$TASKSERV_PORT"
message=$(mosquitto_sub -h "$address" -p "$TASKSERV_PORT" -t "$topic" -C 1 -W 5) || fail 'mosquitto delivers no message'
[ "$message" = hello ] || fail "mosquitto delivers another message: $message"
publish -n
say "mosquitto delivers messages on $address:$TASKSERV_PORT"

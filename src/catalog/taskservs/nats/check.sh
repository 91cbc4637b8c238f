#!/bin/bash
# bash, for /dev/tcp: the distribution has no command-line client of NATS. Its protocol is lines of text.
address=$(local_address "$TASKSERV_BIND" | tr -d '[]')
subject=provisioning.check.$$
login=
[ -z "$TASKSERV_USER" ] || login=",\"user\":\"$TASKSERV_USER\",\"pass\":\"$TASKSERV_PASSWORD\""

# Connects, subscribes, publishes; prints the version and succeeds when the message comes back.
delivers() {
  exec 3<>"/dev/tcp/$address/$TASKSERV_PORT" || return 1
  IFS= read -r -t 5 -u 3 greeting || return 1
  printf 'CONNECT {"verbose":false,"pedantic":false,"name":"provisioning-check"%s}\r\n' "$login" >&3
  printf 'SUB %s 1\r\nPUB %s 5\r\nhello\r\nPING\r\n' "$subject" "$subject" >&3
  while IFS= read -r -t 5 -u 3 line; do
    case ${line%$'\r'} in
      "MSG $subject 1 5") ;;
      hello)
        printf '%s\n' "$greeting" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p'
        return 0
        ;;
      PONG) ;;
      -ERR*) printf '%s\n' "$line" && return 1 ;;
    esac
  done
  return 1
}
version=$(eventually 10 delivers) || fail "NATS delivers no message on $address:$TASKSERV_PORT: $version"
if [ "$TASKSERV_JETSTREAM" = true ]; then
  http_get "http://127.0.0.1:$TASKSERV_MONITOR_PORT/healthz?js-enabled-only=true" >/dev/null || fail 'JetStream is not ready'
fi
say "NATS $version delivers messages on $address:$TASKSERV_PORT"

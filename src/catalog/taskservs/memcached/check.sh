#!/bin/bash
# bash, for /dev/tcp: Debian has no command-line client of memcached.
address=$(local_address "$TASKSERV_BIND" | tr -d '[]')

# ask LINE…   sends the lines, prints the answer up to the one that ends it
ask() {
  exec 3<>"/dev/tcp/$address/$TASKSERV_PORT" || return 1
  printf '%s\r\n' "$@" >&3
  while IFS= read -r -t 5 -u 3 line; do
    line=${line%$'\r'}
    printf '%s\n' "$line"
    case $line in STORED | END | DELETED | NOT_FOUND | VERSION* | *ERROR*) break ;; esac
  done
  exec 3>&-
}

answers() { ask version 2>&1 | grep '^VERSION'; }
eventually 10 answers >/dev/null || fail "memcached does not answer on $address:$TASKSERV_PORT"
key=provisioning-check-$$
stored=$(ask "set $key 0 10 5" hello)
[ "$stored" = STORED ] || fail "memcached stores nothing: $stored"
ask "get $key" | grep -x hello >/dev/null || fail 'memcached does not give back what was stored'
ask "delete $key" >/dev/null
say "memcached $(answers | cut -d ' ' -f 2) stores and gives back on $address:$TASKSERV_PORT"

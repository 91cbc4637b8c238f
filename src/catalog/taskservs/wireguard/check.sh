#!/bin/sh
port=$(wg show "$TASKSERV_INTERFACE" listen-port) || fail "there is no WireGuard interface $TASKSERV_INTERFACE"
[ "$port" = "$TASKSERV_LISTEN_PORT" ] || fail "$TASKSERV_INTERFACE listens on port $port, not $TASKSERV_LISTEN_PORT"
wanted=$(lines "$TASKSERV_PEERS" | cut -d ' ' -f 1 | sort)
[ "$(wg show "$TASKSERV_INTERFACE" peers | sort)" = "$wanted" ] || fail "$TASKSERV_INTERFACE has other peers than the config"
for address in $(lines "$TASKSERV_ADDRESSES"); do
  ip -o address show dev "$TASKSERV_INTERFACE" | grep -F " ${address%/*}/" >/dev/null ||
    fail "$TASKSERV_INTERFACE has not the address $address"
done
# A peer that nobody talks to has no handshake; that is no mistake.
met=$(wg show "$TASKSERV_INTERFACE" latest-handshakes | awk '$2 > 0' | wc -l)
say "WireGuard listens on port $port, $(lines "$wanted" | wc -l) peers, $met of them met"

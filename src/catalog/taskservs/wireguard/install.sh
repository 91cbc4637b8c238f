#!/bin/sh
apt_install wireguard-tools
key_file=/etc/wireguard/$TASKSERV_INTERFACE.key
private_key=$TASKSERV_PRIVATE_KEY
if [ -z "$private_key" ]; then
  if [ ! -s "$key_file" ]; then
    (umask 077 && wg genkey >"$key_file.new")
    mv "$key_file.new" "$key_file"
  fi
  private_key=$(cat "$key_file")
fi
keepalive=
[ "$TASKSERV_PERSISTENT_KEEPALIVE" = 0 ] || keepalive="PersistentKeepalive = $TASKSERV_PERSISTENT_KEEPALIVE"
peers() {
  lines "$TASKSERV_PEERS" | while read -r key networks endpoint; do
    printf '\n[Peer]\nPublicKey = %s\nAllowedIPs = %s\n' "$key" "$networks"
    [ -z "$endpoint" ] || printf 'Endpoint = %s\n' "$endpoint"
    [ -z "$keepalive" ] || printf '%s\n' "$keepalive"
  done
}
write_file "/etc/wireguard/$TASKSERV_INTERFACE.conf" 0600 <<CONF
# by provisioning; changes are lost at the next install
[Interface]
Address = $(printf '%s' "$TASKSERV_ADDRESSES" | tr '\n' ,)
ListenPort = $TASKSERV_LISTEN_PORT
MTU = $TASKSERV_MTU
PrivateKey = $private_key
$(peers)
CONF

if has_systemd; then
  service_with_systemd "wg-quick@$TASKSERV_INTERFACE"
elif ! ip link show "$TASKSERV_INTERFACE" >/dev/null 2>&1; then
  wg-quick up "$TASKSERV_INTERFACE" || fail 'wg-quick cannot make the interface: has the kernel WireGuard?'
  say "started $TASKSERV_INTERFACE"
elif is_changed; then
  wg-quick down "$TASKSERV_INTERFACE"
  wg-quick up "$TASKSERV_INTERFACE" || fail 'wg-quick cannot make the interface anew'
  say "restarted $TASKSERV_INTERFACE"
fi
clear_changed
say "public_key $(printf '%s' "$private_key" | wg pubkey)"

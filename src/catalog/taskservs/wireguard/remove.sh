#!/bin/sh
if has_systemd; then
  if systemctl cat "wg-quick@$TASKSERV_INTERFACE" >/dev/null 2>&1; then
    systemctl disable --now --quiet "wg-quick@$TASKSERV_INTERFACE" || fail "$TASKSERV_INTERFACE does not go down"
  fi
elif ip link show "$TASKSERV_INTERFACE" >/dev/null 2>&1; then
  wg-quick down "$TASKSERV_INTERFACE" || fail "$TASKSERV_INTERFACE does not go down"
fi
apt_remove wireguard-tools
rm -f "/etc/wireguard/$TASKSERV_INTERFACE.conf"
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -f "/etc/wireguard/$TASKSERV_INTERFACE.key"
forget

#!/bin/sh
if has_systemd && systemctl cat docker.socket >/dev/null 2>&1; then systemctl disable --now --quiet docker.socket; fi
service_remove docker docker
apt_remove docker.io
rm -f /etc/docker/daemon.json
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf "$TASKSERV_DATA_ROOT"
forget

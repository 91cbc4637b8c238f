#!/bin/sh
version=$(apt_versioned docker.io)
apt_install "$version" iptables

json_list() { lines "$1" | sed 's/.*/"&"/' | paste -sd , -; }
pools=$(lines "$TASKSERV_ADDRESS_POOLS" | sed 's/\(.*\),\(.*\)/{"base":"\1","size":\2}/' | paste -sd , -)
write_file /etc/docker/daemon.json <<CONF
{
  "storage-driver": "$TASKSERV_STORAGE_DRIVER",
  "data-root": "$TASKSERV_DATA_ROOT",
  "registry-mirrors": [$(json_list "$TASKSERV_REGISTRY_MIRRORS")],
  "insecure-registries": [$(json_list "$TASKSERV_INSECURE_REGISTRIES")],
  "default-address-pools": [$pools],
  "log-driver": "json-file",
  "log-opts": { "max-size": "$TASKSERV_LOG_MAX_SIZE", "max-file": "$TASKSERV_LOG_MAX_FILE" },
  "live-restore": $TASKSERV_LIVE_RESTORE
}
CONF
# The socket comes from a unit of its own where there is systemd.
if has_systemd; then systemctl enable --now --quiet docker.socket; fi
service_apply docker docker root dockerd --host unix:///run/docker.sock --containerd /run/containerd/containerd.sock

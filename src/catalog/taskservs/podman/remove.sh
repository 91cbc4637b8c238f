#!/bin/sh
if [ -n "$(package_version podman)" ]; then
  # Containers would go on without anything that manages them.
  podman stop --all --time 10 >/dev/null 2>&1 || say 'warning: not all containers could be stopped'
  # A process that keeps the user namespace open, where podman had to make one.
  podman system migrate >/dev/null 2>&1 || say 'warning: podman system migrate failed'
  [ "$TASKSERV_REMOVE_DATA" = false ] || podman system reset --force
fi
service_remove podman-api -
apt_remove podman
rm -f /etc/containers/containers.conf.d/90-provisioning.conf /etc/containers/storage.conf \
  /etc/containers/registries.conf.d/90-provisioning.conf
forget

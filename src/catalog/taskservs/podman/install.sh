#!/bin/sh
version=$(apt_versioned podman)
# Ubuntu 22.04 has the older network stack.
network='netavark aardvark-dns'
[ "$HOST_PLATFORM" != ubuntu-22.04 ] || network='containernetworking-plugins golang-github-containernetworking-plugin-dnsname'
# shellcheck disable=SC2086 # a list of words
apt_install "$version" runc iptables $network

manager=$TASKSERV_CGROUP_MANAGER
if [ "$manager" = auto ]; then
  manager=cgroupfs
  if has_systemd; then manager=systemd; fi
fi
# A file of its own: those of the packages stay as they are.
write_file /etc/containers/containers.conf.d/90-provisioning.conf <<CONF
# by provisioning; changes are lost at the next install
[engine]
runtime = "runc"
cgroup_manager = "$manager"
events_logger = "file"
CONF
write_file /etc/containers/storage.conf <<CONF
# by provisioning; changes are lost at the next install
[storage]
driver = "$TASKSERV_STORAGE_DRIVER"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
CONF
write_file /etc/containers/registries.conf.d/90-provisioning.conf <<CONF
# by provisioning; changes are lost at the next install
unqualified-search-registries = [$(lines "$TASKSERV_SEARCH_REGISTRIES" | sed 's/.*/"&"/' | paste -sd , -)]
CONF
if [ "$TASKSERV_API_SOCKET" = true ]; then
  SERVICE_DIRECTORIES=/run/podman service_apply podman-api - root \
    podman system service --time=0 unix:///run/podman/podman.sock
else
  service_remove podman-api -
fi
clear_changed

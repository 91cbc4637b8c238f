#!/bin/sh
if has_systemd; then
  service_remove nfs-server nfs-server
elif [ -n "$(package_version nfs-kernel-server)" ]; then
  rpc.nfsd 0
  exportfs -au
fi
service_remove nfs-mountd -
apt_remove nfs-kernel-server
# The directories stay: they hold what others stored.
rm -f /etc/exports.d/provisioning.exports /etc/nfs.conf.d/provisioning.conf
forget

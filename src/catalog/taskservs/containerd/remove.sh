#!/bin/sh
for plugin in /opt/cni/bin/*; do
  case $(readlink "$plugin") in /usr/lib/cni/*) rm -f "$plugin" ;; esac
done
service_remove containerd containerd
apt_remove containerd
rm -f /etc/containerd/config.toml
if [ -d /etc/containerd/certs.d ]; then
  grep -rl 'by provisioning' /etc/containerd/certs.d | while read -r file; do rm -f "$file"; done
fi
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/containerd
forget

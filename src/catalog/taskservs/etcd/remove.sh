#!/bin/sh
service_remove etcd etcd
apt_remove etcd-server etcd-client
rm -f /etc/default/etcd /etc/etcd/provisioning.yaml
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/etcd
forget

#!/bin/sh
version=$(apt_versioned etcd-server)
if [ "$TASKSERV_VERSION" = distro ]; then
  apt_install etcd-server etcd-client
else
  apt_install "$version" "etcd-client=${version#*=}"
fi

name=${TASKSERV_MEMBER_NAME:-$HOST_NAME}
if [ -n "$TASKSERV_INITIAL_CLUSTER" ]; then
  peer=$(lines "$TASKSERV_INITIAL_CLUSTER" | awk -F = -v name="$name" '$1 == name { print $2; exit }')
  [ -n "$peer" ] || fail "\"$name\" is no member in config.initial_cluster; set config.member_name on this host"
  address=$(printf '%s' "$peer" | sed 's,^https*://,,; s,:[0-9]*$,,')
  cluster=$(printf '%s' "$TASKSERV_INITIAL_CLUSTER" | tr '\n' ,)
  clients="http://127.0.0.1:$TASKSERV_CLIENT_PORT,http://$address:$TASKSERV_CLIENT_PORT"
  listen_peer=$peer
  # A name cannot be listened on.
  case $address in
    *[!0-9.]*) case $address in \[*) ;; *)
      clients="http://0.0.0.0:$TASKSERV_CLIENT_PORT"
      listen_peer="http://0.0.0.0:${peer##*:}"
      ;; esac ;;
  esac
else
  peer=http://127.0.0.1:2380
  listen_peer=$peer
  address=127.0.0.1
  cluster="$name=$peer"
  clients="http://127.0.0.1:$TASKSERV_CLIENT_PORT"
fi

install -d -o etcd -g etcd -m 0700 /var/lib/etcd/default
write_file /etc/etcd/provisioning.yaml <<CONF
# by provisioning; changes are lost at the next install
name: "$name"
data-dir: /var/lib/etcd/default
listen-client-urls: "$clients"
advertise-client-urls: "http://$address:$TASKSERV_CLIENT_PORT"
listen-peer-urls: "$listen_peer"
initial-advertise-peer-urls: "$peer"
initial-cluster: "$cluster"
initial-cluster-state: $TASKSERV_INITIAL_CLUSTER_STATE
initial-cluster-token: "$TASKSERV_INITIAL_CLUSTER_TOKEN"
quota-backend-bytes: $TASKSERV_QUOTA_BACKEND_BYTES
auto-compaction-mode: periodic
auto-compaction-retention: "$TASKSERV_AUTO_COMPACTION_RETENTION"
strict-reconfig-check: true
enable-v2: false
CONF
write_file /etc/default/etcd <<CONF
# by provisioning; changes are lost at the next install
DAEMON_ARGS=--config-file=/etc/etcd/provisioning.yaml
CONF
# A member is up only when most of the others are: waiting here would keep them from being installed one by one.
SERVICE_NO_BLOCK=yes service_apply etcd etcd etcd etcd --config-file=/etc/etcd/provisioning.yaml

#!/bin/sh
version=$(apt_versioned prometheus-node-exporter)
apt_install "$version"
# No argument holds a space (the schema sees to it), so they can be kept as words.
arguments="--web.listen-address=$TASKSERV_BIND:$TASKSERV_PORT"
for collector in $(lines "$TASKSERV_ENABLE"); do arguments="$arguments --collector.$collector"; done
for collector in $(lines "$TASKSERV_DISABLE"); do arguments="$arguments --no-collector.$collector"; done
write_file /etc/default/prometheus-node-exporter <<CONF
# by provisioning; changes are lost at the next install
ARGS="$arguments"
CONF
# shellcheck disable=SC2086
service_apply prometheus-node-exporter prometheus-node-exporter prometheus prometheus-node-exporter $arguments

#!/bin/sh
address=$(local_address "$TASKSERV_BIND")
metrics() { http_get "http://$address:$TASKSERV_PORT/metrics"; }
eventually 10 metrics >/dev/null || fail "node-exporter serves no metrics on $address:$TASKSERV_PORT"
count=$(metrics | grep -c '^node_') || fail 'node-exporter serves no metrics of the host'
metrics | grep '^node_exporter_build_info' >/dev/null || fail "something else answers on $address:$TASKSERV_PORT"
version=$(metrics | sed -n 's/^node_exporter_build_info{.*version="\([^"]*\)".*/\1/p')
say "node-exporter $version serves $count metrics on $address:$TASKSERV_PORT"

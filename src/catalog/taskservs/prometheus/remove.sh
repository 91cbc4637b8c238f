#!/bin/sh
service_remove prometheus prometheus
apt_remove prometheus
rm -f /etc/prometheus/prometheus.yml /etc/default/prometheus
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/prometheus
forget

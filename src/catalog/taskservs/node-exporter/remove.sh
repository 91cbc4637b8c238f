#!/bin/sh
service_remove prometheus-node-exporter prometheus-node-exporter
apt_remove prometheus-node-exporter
rm -f /etc/default/prometheus-node-exporter
forget

#!/bin/sh
version=$(apt_versioned prometheus)
apt_install "$version"

jobs() {
  lines "$TASKSERV_TARGETS" | cut -d = -f 1 | sort -u | while read -r job; do
    printf '  - job_name: "%s"\n    static_configs:\n      - targets:\n' "$job"
    lines "$TASKSERV_TARGETS" | sed -n "s/^$job=\(.*\)/          - \"\1\"/p"
  done
}

write_file /etc/prometheus/prometheus.yml <<CONF
# by provisioning; changes are lost at the next install
global:
  scrape_interval: $TASKSERV_SCRAPE_INTERVAL
  evaluation_interval: $TASKSERV_SCRAPE_INTERVAL
rule_files:
  - /etc/prometheus/rules.d/*.yml
scrape_configs:
  - job_name: "prometheus"
    static_configs:
      - targets:
          - "$(local_address "$TASKSERV_BIND"):$TASKSERV_PORT"
$(jobs)
CONF
promtool check config /etc/prometheus/prometheus.yml >/dev/null || fail 'prometheus does not accept the configuration'
arguments="--web.listen-address=$TASKSERV_BIND:$TASKSERV_PORT --storage.tsdb.retention.time=$TASKSERV_RETENTION"
write_file /etc/default/prometheus 0644 root:root restart <<CONF
# by provisioning; changes are lost at the next install
ARGS="$arguments"
CONF
# shellcheck disable=SC2086 # words without spaces
SERVICE_RELOAD=HUP service_apply prometheus prometheus prometheus \
  prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/var/lib/prometheus/metrics2/ $arguments

#!/bin/sh
service_remove rabbitmq-server rabbitmq-server
apt_remove rabbitmq-server
# The port mapper outlives the broker; it refuses to go while another Erlang program uses it.
if command -v epmd >/dev/null && epmd -names >/dev/null 2>&1; then epmd -kill >/dev/null || say 'epmd stays: others use it'; fi
rm -f /etc/rabbitmq/rabbitmq.conf /etc/rabbitmq/enabled_plugins /etc/rabbitmq/rabbitmq-env.conf
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/rabbitmq
forget

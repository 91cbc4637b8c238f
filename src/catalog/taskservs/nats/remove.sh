#!/bin/sh
unit=nats-server
[ -n "$(package_version nats-server)" ] || unit=-
service_remove nats-server "$unit"
apt_remove nats-server
rm -f /etc/nats-server.conf /usr/local/bin/nats-server
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/nats
forget

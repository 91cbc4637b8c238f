#!/bin/sh
service_remove redis-server redis-server
apt_remove redis-server redis-tools
rm -f /etc/redis/redis.conf
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/redis
forget

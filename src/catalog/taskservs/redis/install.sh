#!/bin/sh
version=$(apt_versioned redis-server)
if [ "$TASKSERV_VERSION" = distro ]; then
  apt_install redis-server redis-tools
else
  apt_install "$version" "redis-tools=${version#*=}"
fi

bind=$(printf '%s' "$TASKSERV_BIND" | tr '\n' ' ')
appendonly=no
[ "$TASKSERV_APPENDONLY" = false ] || appendonly=yes
# Without a password Redis answers only local connections (protected-mode), whatever it listens on.
write_file /etc/redis/redis.conf 0640 redis:redis <<CONF
# by provisioning; changes are lost at the next install
bind $bind
port $TASKSERV_PORT
protected-mode yes
daemonize no
supervised auto
pidfile /run/redis/redis-server.pid
dir /var/lib/redis
logfile ""
save 900 1
save 300 10
save 60 10000
appendonly $appendonly
maxmemory $TASKSERV_MAXMEMORY
maxmemory-policy $TASKSERV_MAXMEMORY_POLICY
${TASKSERV_PASSWORD:+requirepass "$TASKSERV_PASSWORD"
masterauth "$TASKSERV_PASSWORD"}
${TASKSERV_REPLICA_OF:+replicaof $TASKSERV_REPLICA_OF}
CONF
SERVICE_DIRECTORIES=/run/redis service_apply redis-server redis-server redis \
  redis-server /etc/redis/redis.conf --daemonize no

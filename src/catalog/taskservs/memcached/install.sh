#!/bin/sh
version=$(apt_versioned memcached)
apt_install "$version"
write_file /etc/memcached.conf <<CONF
# by provisioning; changes are lost at the next install
-u memcache
-l $TASKSERV_BIND
-p $TASKSERV_PORT
-m $TASKSERV_MEMORY_MB
-c $TASKSERV_CONNECTIONS
-I $TASKSERV_MAX_ITEM_SIZE
CONF
service_apply memcached memcached memcache \
  memcached -l "$TASKSERV_BIND" -p "$TASKSERV_PORT" -m "$TASKSERV_MEMORY_MB" -c "$TASKSERV_CONNECTIONS" \
  -I "$TASKSERV_MAX_ITEM_SIZE"

#!/bin/sh
service_remove memcached memcached
apt_remove memcached
rm -f /etc/memcached.conf
forget

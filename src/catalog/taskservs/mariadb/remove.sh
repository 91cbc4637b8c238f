#!/bin/sh
service_remove mariadb mariadb
apt_remove mariadb-server mariadb-server-10.6 mariadb-server-core mariadb-server-core-10.6
rm -f /etc/mysql/mariadb.conf.d/90-provisioning.cnf
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/mysql
forget

#!/bin/sh
service_remove gitea -
rm -f /usr/local/bin/gitea /etc/gitea/app.ini
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/gitea /etc/gitea
forget

#!/bin/sh
for etc in /etc/postgresql/*/main; do
  [ -e "$etc/conf.d/provisioning.conf" ] || continue
  major=$(basename "$(dirname "$etc")")
  service_remove "postgresql-$major" "postgresql@$major-main"
  apt_remove "postgresql-$major" "postgresql-client-$major"
  if [ "$TASKSERV_REMOVE_DATA" = true ]; then
    rm -rf "/var/lib/postgresql/$major" "/etc/postgresql/$major"
  else
    rm -f "$etc/conf.d/provisioning.conf"
  fi
done
apt_remove postgresql-common
rm -f /var/lib/postgresql/.pgpass.provisioning /etc/postgresql-common/createcluster.d/provisioning.conf
forget

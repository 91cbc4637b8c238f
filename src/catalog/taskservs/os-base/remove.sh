#!/bin/sh
# The packages stay: nobody can tell who else uses curl.
hosts_new=$(sed '/^# begin provisioning$/,/^# end provisioning$/d' /etc/hosts)
if [ "$hosts_new" != "$(cat /etc/hosts)" ]; then printf '%s\n' "$hosts_new" >/etc/hosts; fi
rm -f /etc/sysctl.d/90-provisioning.conf
forget

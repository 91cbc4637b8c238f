#!/bin/sh
# shellcheck disable=SC2046 # a list of words
apt_install ca-certificates curl procps iproute2 $(lines "$TASKSERV_PACKAGES")

if [ -n "$TASKSERV_TIMEZONE" ]; then
  apt_install tzdata
  [ -f "/usr/share/zoneinfo/$TASKSERV_TIMEZONE" ] || fail "there is no timezone \"$TASKSERV_TIMEZONE\""
  if [ "$(readlink /etc/localtime)" != "/usr/share/zoneinfo/$TASKSERV_TIMEZONE" ]; then
    ln -sfn "/usr/share/zoneinfo/$TASKSERV_TIMEZONE" /etc/localtime
    say "timezone $TASKSERV_TIMEZONE"
  fi
  write_file /etc/timezone <<TIMEZONE
$TASKSERV_TIMEZONE
TIMEZONE
fi

# A container's /etc/hosts is a mount: it can be written, but not replaced.
hosts_new=$(
  sed '/^# begin provisioning$/,/^# end provisioning$/d' /etc/hosts
  if [ -n "$TASKSERV_HOSTS" ]; then
    printf '# begin provisioning\n%s\n# end provisioning\n' "$TASKSERV_HOSTS"
  fi
)
if [ "$hosts_new" != "$(cat /etc/hosts)" ]; then
  printf '%s\n' "$hosts_new" >/etc/hosts
  say 'wrote /etc/hosts'
fi

if [ -n "$TASKSERV_SYSCTL" ]; then
  write_file /etc/sysctl.d/90-provisioning.conf <<SYSCTL
$TASKSERV_SYSCTL
SYSCTL
  sysctl --quiet --load /etc/sysctl.d/90-provisioning.conf || fail 'the kernel does not take a setting of config.sysctl'
else
  rm -f /etc/sysctl.d/90-provisioning.conf
fi
clear_changed

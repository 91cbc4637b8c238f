#!/bin/sh
apt_install bind9-dnsutils
file=coredns_${TASKSERV_VERSION}_linux_$(host_architecture).tgz
program=/usr/local/bin/coredns
if ! remembered program "$TASKSERV_SHA256" || [ ! -x "$program" ]; then
  archive=/var/cache/provisioning/$file
  download "$TASKSERV_MIRROR/v$TASKSERV_VERSION/$file" "$TASKSERV_SHA256" "$archive"
  tar -xzf "$archive" -C /var/cache/provisioning coredns
  install -m 0755 /var/cache/provisioning/coredns "$program"
  rm -f /var/cache/provisioning/coredns "$archive"
  remember program "$TASKSERV_SHA256"
fi
getent passwd coredns >/dev/null || useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin coredns

bind=
[ -z "$TASKSERV_BIND" ] || bind="  bind $(printf '%s' "$TASKSERV_BIND" | tr '\n' ' ')"
write_file /etc/coredns/Corefile <<CONF
# by provisioning; changes are lost at the next install
.:$TASKSERV_PORT {
$bind
  errors
  health 127.0.0.1:$TASKSERV_HEALTH_PORT
  hosts {
    127.0.0.1 provisioning-check.invalid
$(lines "$TASKSERV_RECORDS" | sed 's/^/    /')
    fallthrough
  }
  cache $TASKSERV_CACHE_SECONDS
  forward . $(printf '%s' "$TASKSERV_FORWARD" | tr '\n' ' ')
  loop
  reload
}
CONF
# systemd-resolved listens on 127.0.0.53:53 only; with `bind` both fit on one host.
SERVICE_CAPABILITIES=+net_bind_service SERVICE_RELOAD=USR1 service_apply coredns - coredns \
  "$program" -conf /etc/coredns/Corefile

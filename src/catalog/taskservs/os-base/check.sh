#!/bin/sh
curl --version >/dev/null || fail 'curl does not run'
[ -s /etc/ssl/certs/ca-certificates.crt ] || fail 'there are no CA certificates'
for package in $(lines "$TASKSERV_PACKAGES"); do
  [ -n "$(package_version "$package")" ] || fail "the package $package is not installed"
done
if [ -n "$TASKSERV_TIMEZONE" ]; then
  [ "$(readlink /etc/localtime)" = "/usr/share/zoneinfo/$TASKSERV_TIMEZONE" ] || fail 'the timezone is another one'
fi
lines "$TASKSERV_HOSTS" | while read -r address name _; do
  getent ahosts "$name" | grep -qF "$address" || fail "$name does not resolve to $address"
done
lines "$TASKSERV_SYSCTL" | while IFS='=' read -r key value; do
  [ "$(sysctl -n "$key" | tr '\t' ' ')" = "$value" ] || fail "the kernel setting $key is not $value"
done
say "os-base is in place on $HOST_PLATFORM"

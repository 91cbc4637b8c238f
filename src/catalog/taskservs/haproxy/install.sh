#!/bin/sh
version=$(apt_versioned haproxy)
apt_install "$version"

servers() {
  number=0
  check_port=
  [ "$TASKSERV_CHECK_PORT" = 0 ] || check_port=" port $TASKSERV_CHECK_PORT"
  lines "$TASKSERV_BACKENDS" | while read -r backend backup; do
    number=$((number + 1))
    case $backend in
      *=*) name=${backend%%=*} ;;
      *) name=server-$number ;;
    esac
    printf '  server %s %s check%s%s\n' "$name" "${backend#*=}" "$check_port" "${backup:+ backup}"
  done
}

forward=
[ "$TASKSERV_MODE" = tcp ] || forward='  option forwardfor'
check=
[ -z "$TASKSERV_HTTP_CHECK" ] || check="  option httpchk GET $TASKSERV_HTTP_CHECK"

write_file /etc/haproxy/haproxy.cfg 0640 root:haproxy <<CONF
# by provisioning; changes are lost at the next install
global
  log stderr format raw daemon notice
  user haproxy
  group haproxy
  maxconn $TASKSERV_MAX_CONNECTIONS
  stats socket /run/haproxy-admin.sock mode 600 level admin

defaults
  log global
  mode $TASKSERV_MODE
  option dontlognull
  option redispatch
  retries 3
  timeout connect 5s
  timeout client $TASKSERV_TIMEOUT_CLIENT
  timeout server $TASKSERV_TIMEOUT_SERVER

frontend main
  bind *:$TASKSERV_PORT
$forward
  default_backend servers

backend servers
  balance $TASKSERV_BALANCE
$check
  default-server inter 2s fall 3 rise 1
$(servers)

frontend stats
  mode http
  bind 127.0.0.1:$TASKSERV_STATS_PORT
  http-request use-service prometheus-exporter if { path /metrics }
  stats enable
  stats uri /stats

$TASKSERV_EXTRA
CONF
haproxy -c -q -f /etc/haproxy/haproxy.cfg || fail 'haproxy does not accept the configuration'
SERVICE_RELOAD=USR2 service_apply haproxy haproxy root haproxy -W -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid

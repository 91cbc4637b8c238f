#!/bin/sh
version=$(apt_versioned rabbitmq-server)
apt_install "$version"
write_file /etc/rabbitmq/rabbitmq.conf 0640 root:rabbitmq <<CONF
# by provisioning; changes are lost at the next install
listeners.tcp.1 = $TASKSERV_BIND:$TASKSERV_PORT
management.tcp.ip = $TASKSERV_MANAGEMENT_BIND
management.tcp.port = $TASKSERV_MANAGEMENT_PORT
vm_memory_high_watermark.relative = $TASKSERV_MEMORY_HIGH_WATERMARK
disk_free_limit.absolute = ${TASKSERV_DISK_FREE_LIMIT_MB}MB
log.console = true
CONF
write_file /etc/rabbitmq/enabled_plugins 0640 root:rabbitmq <<'CONF'
[rabbitmq_management].
CONF
# Alone, a broker needs its ports for other nodes on this host only.
write_file /etc/rabbitmq/rabbitmq-env.conf 0640 root:rabbitmq <<'CONF'
NODENAME=rabbit@localhost
ERL_EPMD_ADDRESS=127.0.0.1
SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
CONF
SERVICE_NO_BLOCK=yes service_apply rabbitmq-server rabbitmq-server rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-server

# By HTTP, for each call of rabbitmqctl starts a whole Erlang; passwords by standard input.
login() { printf 'user = "%s:%s"\n' "$TASKSERV_USER" "$TASKSERV_PASSWORD"; }
base=http://$(local_address "$TASKSERV_MANAGEMENT_BIND"):$TASKSERV_MANAGEMENT_PORT/api
can_log_in() { login | http_get --config - "$base/whoami" >/dev/null 2>&1; }
if ! can_log_in; then
  eventually 120 rabbitmqctl --quiet await_startup --timeout 60 >/dev/null || fail 'RabbitMQ does not start; see its log'
  if rabbitmqctl --quiet list_users | cut -f 1 | grep -Fqx "$TASKSERV_USER"; then
    printf '%s\n' "$TASKSERV_PASSWORD" | rabbitmqctl --quiet change_password "$TASKSERV_USER" >/dev/null
  else
    printf '%s\n' "$TASKSERV_PASSWORD" | rabbitmqctl --quiet add_user "$TASKSERV_USER" >/dev/null
  fi
  rabbitmqctl --quiet set_user_tags "$TASKSERV_USER" administrator
  # Whoever knows the documentation knows guest's password.
  if [ "$TASKSERV_USER" != guest ] && rabbitmqctl --quiet list_users | grep -q '^guest'; then
    rabbitmqctl --quiet delete_user guest
  fi
  say "set up the user $TASKSERV_USER"
  eventually 60 can_log_in || fail "$TASKSERV_USER cannot log in at $base"
fi
vhost=$(printf '%s' "$TASKSERV_VHOST" | sed 's,/,%2F,g')
if ! login | http_get --config - "$base/permissions/$vhost/$TASKSERV_USER" >/dev/null 2>&1; then
  login | http_get --config - --request PUT "$base/vhosts/$vhost" >/dev/null
  login | http_get --config - --request PUT --header 'content-type: application/json' \
    --data '{"configure":".*","write":".*","read":".*"}' "$base/permissions/$vhost/$TASKSERV_USER" >/dev/null
  say "set up the virtual host $TASKSERV_VHOST"
fi

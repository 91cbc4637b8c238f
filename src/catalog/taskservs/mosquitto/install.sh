#!/bin/sh
if [ -n "$TASKSERV_USER" ] && [ -z "$TASKSERV_PASSWORD" ]; then fail 'config.user needs config.password'; fi
version=$(apt_versioned mosquitto)
apt_install "$version" mosquitto-clients

passwords=/etc/mosquitto/provisioning.passwords
anonymous='allow_anonymous true'
if [ -n "$TASKSERV_USER" ]; then
  anonymous="allow_anonymous false
password_file $passwords"
  if [ ! -s "$passwords" ] || ! remembered login "$TASKSERV_USER:$TASKSERV_PASSWORD"; then
    # -U hashes what the file holds; with the password as an argument everybody on the host could see it.
    (umask 077 && printf '%s:%s\n' "$TASKSERV_USER" "$TASKSERV_PASSWORD" >"$passwords.new")
    mosquitto_passwd -U "$passwords.new"
    chown mosquitto:mosquitto "$passwords.new"
    mark_changed
    mv -f "$passwords.new" "$passwords"
    remember login "$TASKSERV_USER:$TASKSERV_PASSWORD"
  fi
else
  rm -f "$passwords"
fi

write_file /etc/mosquitto/mosquitto.conf 0640 root:mosquitto restart <<CONF
# by provisioning; changes are lost at the next install
listener $TASKSERV_PORT $TASKSERV_BIND
$anonymous
persistence $TASKSERV_PERSISTENCE
persistence_location /var/lib/mosquitto/
max_queued_messages $TASKSERV_MAX_QUEUED_MESSAGES
log_dest stderr
include_dir /etc/mosquitto/conf.d
CONF
SERVICE_RELOAD=HUP service_apply mosquitto mosquitto mosquitto mosquitto -c /etc/mosquitto/mosquitto.conf

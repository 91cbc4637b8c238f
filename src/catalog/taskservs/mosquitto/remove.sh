#!/bin/sh
service_remove mosquitto mosquitto
apt_remove mosquitto mosquitto-clients
rm -f /etc/mosquitto/mosquitto.conf /etc/mosquitto/provisioning.passwords
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/mosquitto
forget

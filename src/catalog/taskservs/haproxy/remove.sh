#!/bin/sh
service_remove haproxy haproxy
apt_remove haproxy
rm -f /etc/haproxy/haproxy.cfg
forget

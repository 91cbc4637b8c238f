#!/bin/sh
service_remove coredns -
rm -f /usr/local/bin/coredns
rm -rf /etc/coredns
forget

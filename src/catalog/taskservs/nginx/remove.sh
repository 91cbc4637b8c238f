#!/bin/sh
service_remove nginx nginx
apt_remove nginx nginx-light nginx-core nginx-full nginx-extras nginx-common
rm -f /etc/nginx/sites-enabled/provisioning /etc/nginx/sites-available/provisioning /etc/nginx/nginx.conf
forget

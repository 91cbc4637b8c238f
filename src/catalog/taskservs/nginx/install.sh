#!/bin/sh
version=$(apt_versioned nginx)
apt_install "$version"

mkdir -p "$TASKSERV_ROOT"
if [ -n "$TASKSERV_INDEX_PAGE" ]; then
  write_file "$TASKSERV_ROOT/index.html" <<PAGE
$TASKSERV_INDEX_PAGE
PAGE
elif [ ! -e "$TASKSERV_ROOT/index.html" ]; then
  write_file "$TASKSERV_ROOT/index.html" <<PAGE
<!doctype html><title>$HOST_NAME</title><p>nginx on $HOST_NAME
PAGE
fi

upstream=
# Dollar signs below are nginx's variables.
# shellcheck disable=SC2016
location='location / { try_files $uri $uri/ =404; }'
if [ -n "$TASKSERV_UPSTREAMS" ]; then
  upstream="upstream provisioning {
$(lines "$TASKSERV_UPSTREAMS" | sed 's/.*/  server &;/')
}"
  # shellcheck disable=SC2016
  location='location / {
    proxy_pass http://provisioning;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
  }'
fi
server_name=$(printf '%s' "$TASKSERV_SERVER_NAME" | tr '\n' ' ')
# A kernel without IPv6 refuses to listen on it.
listen6=
[ ! -e /proc/net/if_inet6 ] || listen6="listen [::]:$TASKSERV_PORT default_server;"

write_file /etc/nginx/nginx.conf <<CONF
# by provisioning; changes are lost at the next install
user www-data;
worker_processes auto;
pid /run/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections $TASKSERV_WORKER_CONNECTIONS; }
http {
  sendfile on;
  tcp_nopush on;
  server_tokens off;
  types_hash_max_size 2048;
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /var/log/nginx/access.log;
  error_log /var/log/nginx/error.log;
  gzip on;
  include /etc/nginx/conf.d/*.conf;
  include /etc/nginx/sites-enabled/*;
}
CONF
write_file /etc/nginx/sites-available/provisioning <<CONF
$upstream
server {
  listen $TASKSERV_PORT default_server;
  $listen6
  server_name $server_name;
  root $TASKSERV_ROOT;
  index index.html;
  client_max_body_size $TASKSERV_CLIENT_MAX_BODY_SIZE;
  $location
}
CONF
# Debian's example takes port 80 as the default server.
rm -f /etc/nginx/sites-enabled/default
ln -sfn ../sites-available/provisioning /etc/nginx/sites-enabled/provisioning

nginx -t -q || fail 'nginx does not accept the configuration'
SERVICE_RELOAD=HUP service_apply nginx nginx root nginx -g 'daemon off;'

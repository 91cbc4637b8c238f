#!/bin/sh
if [ -n "$TASKSERV_USER" ] && [ -z "$TASKSERV_PASSWORD" ]; then fail 'config.user needs config.password'; fi
case $TASKSERV_VERSION in
  *.*.*)
    # From nats-io/nats-docker's Dockerfiles, which the vendor keeps.
    architecture=$(host_architecture)
    case $TASKSERV_VERSION-$architecture in
      2.10.29-amd64) sum=e314da74a83a1d3876db8814c27eb990fe729640fd6452025b441bcede8390da ;;
      2.10.29-arm64) sum=da4b27942ecfb4c5f0c54553d2e7f470ddda9d7581cfe8131b351a0e223ed401 ;;
      *) sum= ;;
    esac
    folder=nats-server-v$TASKSERV_VERSION-linux-$architecture
    archive=/var/cache/provisioning/$folder.tar.gz
    program=/usr/local/bin/nats-server
    apt_remove nats-server
    if [ ! -x "$program" ] || [ "$("$program" --version)" != "nats-server: v$TASKSERV_VERSION" ]; then
      download "$TASKSERV_MIRROR/v$TASKSERV_VERSION/$folder.tar.gz" "${TASKSERV_SHA256:-$sum}" "$archive"
      tar -xzf "$archive" -C /var/cache/provisioning "$folder/nats-server"
      install -m 0755 "/var/cache/provisioning/$folder/nats-server" "$program"
      rm -rf "/var/cache/provisioning/$folder" "$archive"
      mark_changed restart
    fi
    unit=-
    ;;
  *)
    version=$(apt_versioned nats-server)
    apt_install "$version"
    program=/usr/sbin/nats-server
    unit=nats-server
    ;;
esac
getent passwd nats >/dev/null || useradd --system --home-dir /var/lib/nats --shell /usr/sbin/nologin nats
install -d -o nats -g nats -m 0750 /var/lib/nats

authorization=
if [ -n "$TASKSERV_USER" ]; then
  authorization="authorization { user: \"$TASKSERV_USER\", password: \"$TASKSERV_PASSWORD\" }"
fi
jetstream=
[ "$TASKSERV_JETSTREAM" = false ] || jetstream='jetstream { store_dir: "/var/lib/nats/jetstream" }'
cluster=
if [ -n "$TASKSERV_CLUSTER_NAME" ]; then
  routes=$(lines "$TASKSERV_CLUSTER_ROUTES" | sed 's/.*/    "&"/')
  cluster="cluster {
  name: \"$TASKSERV_CLUSTER_NAME\"
  listen: \"0.0.0.0:$TASKSERV_CLUSTER_PORT\"
  routes: [
$routes
  ]
}"
fi
write_file /etc/nats-server.conf 0640 root:nats <<CONF
# by provisioning; changes are lost at the next install
server_name: "$HOST_NAME"
host: "$TASKSERV_BIND"
port: $TASKSERV_PORT
http: "127.0.0.1:$TASKSERV_MONITOR_PORT"
$authorization
$jetstream
$cluster
CONF
"$program" -t -c /etc/nats-server.conf >/dev/null 2>&1 || fail 'NATS does not accept the configuration'
service_apply nats-server "$unit" nats "$program" -c /etc/nats-server.conf

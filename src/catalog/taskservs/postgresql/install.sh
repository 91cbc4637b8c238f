#!/bin/sh
if [ -n "$TASKSERV_USER$TASKSERV_DATABASE" ]; then
  if [ -z "$TASKSERV_USER" ] || [ -z "$TASKSERV_DATABASE" ]; then fail 'config.user and config.database need each other'; fi
  [ -n "$TASKSERV_PASSWORD" ] || fail 'config.user needs config.password'
fi
if [ -n "$TASKSERV_REPLICATION_USER" ] && [ -z "$TASKSERV_REPLICATION_PASSWORD" ]; then
  fail 'config.replication_user needs config.replication_password'
fi
if [ "$TASKSERV_ROLE" = replica ]; then
  [ -n "$TASKSERV_PRIMARY_ADDRESS" ] || fail 'a replica needs config.primary_address'
  [ -n "$TASKSERV_REPLICATION_USER" ] || fail 'a replica needs config.replication_user'
fi

major=$TASKSERV_VERSION
if [ "$major" = distro ]; then
  case $HOST_PLATFORM in
    debian-12) major=15 ;;
    ubuntu-22.04) major=14 ;;
    *) major=16 ;;
  esac
fi
for other in /var/lib/postgresql/*/main; do
  [ ! -e "$other/PG_VERSION" ] || [ "$(cat "$other/PG_VERSION")" = "$major" ] ||
    fail "$other holds databases of another version; move them with pg_upgradecluster first, or remove the directory"
done

# The package would make a cluster of its own, which a replica cannot use.
apt_install postgresql-common
write_file /etc/postgresql-common/createcluster.d/provisioning.conf <<CONF
create_main_cluster = false
CONF
if [ -z "$(package_version "postgresql-$major")" ] && [ -z "$(apt-cache madison "postgresql-$major")" ]; then
  apt_update
  [ -n "$(apt-cache madison "postgresql-$major")" ] || fail "postgresql-$major is not to be had on $HOST_PLATFORM"
fi
apt_install "postgresql-$major"

data=/var/lib/postgresql/$major/main
etc=/etc/postgresql/$major/main
binaries=/usr/lib/postgresql/$major/bin
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/var/lib/postgresql "$@"; }

# For replication: a file, for arguments and the environment of a long-running process can be seen. ":" and "\" are escaped.
passfile=/var/lib/postgresql/.pgpass.provisioning
if [ -n "$TASKSERV_REPLICATION_USER" ]; then
  escaped=$(printf '%s' "$TASKSERV_REPLICATION_PASSWORD" | sed 's/[\\:]/\\&/g')
  write_file "$passfile" 0600 postgres:postgres <<CONF
*:*:*:$TASKSERV_REPLICATION_USER:$escaped
CONF
else
  rm -f "$passfile"
fi

if [ "$TASKSERV_ROLE" = replica ]; then
  if [ -e "$data/PG_VERSION" ] && [ ! -e "$data/standby.signal" ]; then
    fail "$data holds databases of a primary; it is not overwritten. Remove it, and this host becomes a replica"
  fi
  if [ ! -e "$data/PG_VERSION" ]; then
    # Beside it and moved when complete: a copy that was cut off is started anew.
    rm -rf "$data.copying"
    install -d -o postgres -g postgres -m 0755 "/var/lib/postgresql/$major"
    say "copying the databases of $TASKSERV_PRIMARY_ADDRESS"
    as_postgres PGPASSFILE="$passfile" "$binaries/pg_basebackup" --no-password --pgdata="$data.copying" \
      --host="$TASKSERV_PRIMARY_ADDRESS" --port="$TASKSERV_PRIMARY_PORT" --username="$TASKSERV_REPLICATION_USER" \
      --wal-method=stream --checkpoint=fast || fail "cannot copy the databases of $TASKSERV_PRIMARY_ADDRESS"
    as_postgres touch "$data.copying/standby.signal"
    # What pg_createcluster takes for the configuration of a data directory that is there already; a copy has none.
    for file in postgresql pg_hba pg_ident; do
      as_postgres cp "/usr/share/postgresql/$major/$file.conf.sample" "$data.copying/$file.conf"
    done
    mv "$data.copying" "$data"
    mark_changed restart
  fi
fi
if [ ! -e "$etc/postgresql.conf" ]; then
  # Takes a data directory that is there as it is. The service is ours to start.
  pg_createcluster --start-conf=auto --port="$TASKSERV_PORT" "$major" main -- --data-checksums --auth-local=peer \
    --auth-host=scram-sha-256
  mark_changed restart
fi

replication=
if [ -n "$TASKSERV_REPLICATION_USER" ]; then
  replication=$(lines "$TASKSERV_ALLOWED_NETWORKS" | sed "s,.*,host replication $TASKSERV_REPLICATION_USER & scram-sha-256,")
fi
write_file "$etc/pg_hba.conf" 0640 postgres:postgres <<CONF
# by provisioning; changes are lost at the next install
local all postgres peer
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
$(lines "$TASKSERV_ALLOWED_NETWORKS" | sed 's,.*,host all all & scram-sha-256,')
$replication
CONF
primary=
if [ "$TASKSERV_ROLE" = replica ]; then
  primary="primary_conninfo = 'host=$TASKSERV_PRIMARY_ADDRESS port=$TASKSERV_PRIMARY_PORT user=$TASKSERV_REPLICATION_USER passfile=$passfile application_name=$HOST_NAME'"
fi
write_file "$etc/conf.d/provisioning.conf" 0640 postgres:postgres restart <<CONF
# by provisioning; changes are lost at the next install
listen_addresses = '$TASKSERV_LISTEN_ADDRESSES'
port = $TASKSERV_PORT
max_connections = $TASKSERV_MAX_CONNECTIONS
shared_buffers = $TASKSERV_SHARED_BUFFERS
password_encryption = 'scram-sha-256'
wal_level = replica
max_wal_senders = 10
wal_keep_size = $TASKSERV_WAL_KEEP_SIZE
hot_standby = on
$primary
CONF
# INT: ends connections instead of waiting for clients to go.
SERVICE_DIRECTORIES=/run/postgresql SERVICE_RELOAD=HUP SERVICE_STOP=INT service_apply "postgresql-$major" \
  "postgresql@$major-main" postgres "$binaries/postgres" -D "$data" -c "config_file=$etc/postgresql.conf"

sql() { as_postgres psql -X -q -t -A -v ON_ERROR_STOP=1 -p "$TASKSERV_PORT" "$@"; }
eventually 60 sql -c 'select 1' >/dev/null || fail "PostgreSQL does not start; see /var/log/postgresql and the service's log"
[ "$TASKSERV_ROLE" = primary ] || exit 0

if [ "$(sql -c 'select pg_is_in_recovery()')" = t ]; then
  say 'promoting the replica'
  [ "$(sql -c 'select pg_promote(true, 120)')" = t ] || fail 'the replica cannot be promoted'
fi

# role NAME PASSWORD ATTRIBUTES   SQL comes from standard input, so that no password is in an argument, and none in the log.
role() {
  role_password=$(printf '%s' "$2" | sed "s/'/''/g")
  sql <<SQL
set log_min_error_statement = panic;
set log_statement = none;
set log_min_duration_statement = -1;
select 'create role "$1"' where not exists (select from pg_roles where rolname = '$1') \\gexec
alter role "$1" with login $3 password '$role_password';
SQL
  say "set up the role $1"
}
can_log_in() { PGPASSWORD=$2 psql -X -q -w -h 127.0.0.1 -p "$TASKSERV_PORT" -U "$1" -d "$3" -c 'select 1' >/dev/null 2>&1; }

if [ -n "$TASKSERV_USER" ]; then
  exists=$(sql -c "select 1 from pg_database where datname = '$TASKSERV_DATABASE'")
  if [ "$exists" != 1 ] || ! can_log_in "$TASKSERV_USER" "$TASKSERV_PASSWORD" "$TASKSERV_DATABASE"; then
    role "$TASKSERV_USER" "$TASKSERV_PASSWORD" ''
    [ "$exists" = 1 ] || sql -c "create database \"$TASKSERV_DATABASE\" owner \"$TASKSERV_USER\""
  fi
fi
if [ -n "$TASKSERV_REPLICATION_USER" ]; then
  replicates=$(sql -c "select 1 from pg_roles where rolname = '$TASKSERV_REPLICATION_USER' and rolreplication")
  if [ "$replicates" != 1 ] || ! can_log_in "$TASKSERV_REPLICATION_USER" "$TASKSERV_REPLICATION_PASSWORD" postgres; then
    role "$TASKSERV_REPLICATION_USER" "$TASKSERV_REPLICATION_PASSWORD" replication
  fi
fi

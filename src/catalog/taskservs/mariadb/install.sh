#!/bin/sh
if [ -n "$TASKSERV_USER$TASKSERV_DATABASE" ]; then
  if [ -z "$TASKSERV_USER" ] || [ -z "$TASKSERV_DATABASE" ]; then fail 'config.user and config.database need each other'; fi
  [ -n "$TASKSERV_PASSWORD" ] || fail 'config.user needs config.password'
fi
version=$(apt_versioned mariadb-server)
apt_install "$version"
# Removing the package leaves the data; removing the data leaves none to start with.
if [ ! -d /var/lib/mysql/mysql ]; then
  install -d -o mysql -g mysql -m 0755 /var/lib/mysql
  mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db >/dev/null
fi
write_file /etc/mysql/mariadb.conf.d/90-provisioning.cnf 0644 root:root restart <<CONF
# by provisioning; changes are lost at the next install
[mariadbd]
port = $TASKSERV_PORT
bind-address = $TASKSERV_BIND_ADDRESS
max_connections = $TASKSERV_MAX_CONNECTIONS
innodb_buffer_pool_size = $TASKSERV_INNODB_BUFFER_POOL_SIZE
CONF
SERVICE_DIRECTORIES=/run/mysqld service_apply mariadb mariadb mysql mariadbd --user=mysql

# root comes in by the socket: the server knows from it that it is root.
sql() { mariadb --no-defaults --socket=/run/mysqld/mysqld.sock --batch --skip-column-names "$@"; }
eventually 60 sql -e 'select 1' >/dev/null || fail 'MariaDB does not start; see its log'

if [ -n "$TASKSERV_USER" ]; then
  can_log_in() {
    printf '[client]\nuser=%s\npassword="%s"\n' "$TASKSERV_USER" "$TASKSERV_PASSWORD" >"$login"
    mariadb --defaults-file="$login" --host=127.0.0.1 --port="$TASKSERV_PORT" -e 'select 1' "$TASKSERV_DATABASE" >/dev/null 2>&1
  }
  login=$(mktemp)
  trap 'rm -f "$login"' EXIT
  if ! can_log_in; then
    # From standard input: an argument could be seen by everybody on the host.
    sql --skip-reconnect <<SQL
set session sql_log_off = 1;
create database if not exists \`$TASKSERV_DATABASE\`;
create user if not exists '$TASKSERV_USER'@'$TASKSERV_USER_HOST' identified by '$TASKSERV_PASSWORD';
alter user '$TASKSERV_USER'@'$TASKSERV_USER_HOST' identified by '$TASKSERV_PASSWORD';
grant all privileges on \`$TASKSERV_DATABASE\`.* to '$TASKSERV_USER'@'$TASKSERV_USER_HOST';
SQL
    say "set up the user $TASKSERV_USER"
  fi
fi

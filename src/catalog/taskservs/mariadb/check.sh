#!/bin/sh
sql() { mariadb --no-defaults --socket=/run/mysqld/mysqld.sock --batch --skip-column-names "$@"; }
eventually 15 sql -e 'select 1' >/dev/null || fail 'MariaDB answers no query on its socket'
# A temporary table: a write that leaves nothing.
answer=$(sql <<SQL
create temporary table mysql.provisioning_check (number int) engine=InnoDB;
insert into mysql.provisioning_check values (42);
select number from mysql.provisioning_check;
SQL
) || fail 'MariaDB takes no writes'
[ "$answer" = 42 ] || fail 'MariaDB does not give back what was written'
if [ -n "$TASKSERV_USER" ]; then
  login=$(mktemp)
  trap 'rm -f "$login"' EXIT
  printf '[client]\nuser=%s\npassword="%s"\n' "$TASKSERV_USER" "$TASKSERV_PASSWORD" >"$login"
  address=$(local_address "$TASKSERV_BIND_ADDRESS")
  mariadb --defaults-file="$login" --host="$address" --port="$TASKSERV_PORT" -e 'select 1' "$TASKSERV_DATABASE" \
    >/dev/null || fail "$TASKSERV_USER cannot log in to $TASKSERV_DATABASE at $address:$TASKSERV_PORT"
fi
say "MariaDB $(sql -e 'select version()') answers on port $TASKSERV_PORT"

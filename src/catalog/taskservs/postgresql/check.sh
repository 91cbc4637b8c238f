#!/bin/sh
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/var/lib/postgresql "$@"; }
sql() { as_postgres psql -X -q -t -A -v ON_ERROR_STOP=1 -p "$TASKSERV_PORT" "$@"; }

eventually 15 sql -c 'select 1' >/dev/null || fail "PostgreSQL answers no query on port $TASKSERV_PORT"
recovering=$(sql -c 'select pg_is_in_recovery()')
if [ "$TASKSERV_ROLE" = primary ]; then
  [ "$recovering" = f ] || fail 'this host follows another one; it should be a primary'
  # Rolled back: a write that leaves nothing.
  sql >/dev/null <<SQL || fail 'PostgreSQL takes no writes'
begin;
create table provisioning_check (number int);
insert into provisioning_check values (42);
select number from provisioning_check;
rollback;
SQL
  if [ -n "$TASKSERV_USER" ]; then
    PGPASSWORD=$TASKSERV_PASSWORD psql -X -q -w -h 127.0.0.1 -p "$TASKSERV_PORT" -U "$TASKSERV_USER" \
      -d "$TASKSERV_DATABASE" -c 'select 1' >/dev/null || fail "$TASKSERV_USER cannot log in to $TASKSERV_DATABASE"
  fi
  more=", $(sql -c 'select count(*) from pg_stat_replication') replicas follow it"
else
  [ "$recovering" = t ] || fail 'this host is a primary; it should follow another one'
  streams() { [ "$(sql -c 'select status from pg_stat_wal_receiver')" = streaming ]; }
  eventually 20 streams || fail "nothing is received from $TASKSERV_PRIMARY_ADDRESS:$TASKSERV_PRIMARY_PORT"
  more=", following $TASKSERV_PRIMARY_ADDRESS"
fi
say "PostgreSQL $(sql -c 'show server_version' | cut -d ' ' -f 1) answers on port $TASKSERV_PORT as $TASKSERV_ROLE$more"

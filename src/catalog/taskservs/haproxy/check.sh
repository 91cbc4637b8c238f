#!/bin/sh
stats() { http_get "http://127.0.0.1:$TASKSERV_STATS_PORT/stats;csv"; }

# Fields of the CSV: 1 proxy, 2 server, 18 status, 37 how its last check ended. Before the first one a server counts as up.
backends_up() {
  stats | awk -F , '$1 == "servers" && $2 != "BACKEND" && $18 ~ /^UP/ && $37 ~ /OK$/ { up++ } END { if (!up) exit 1; print up }'
}

eventually 10 stats >/dev/null || fail "haproxy does not answer on 127.0.0.1:$TASKSERV_STATS_PORT"
stats | grep '^main,FRONTEND,.*,OPEN,' >/dev/null || fail "haproxy does not accept connections on port $TASKSERV_PORT"
all=$(lines "$TASKSERV_BACKENDS" | wc -l)
if [ "$all" -gt 0 ]; then
  up=$(eventually 10 backends_up) || fail "none of the $all backends is up"
  if [ "$TASKSERV_MODE" = http ]; then
    # Whatever it is: that a server is up has been seen above, and a server may answer as it likes.
    curl --silent --show-error --max-time 5 --noproxy '*' --output /dev/null "http://127.0.0.1:$TASKSERV_PORT/" ||
      fail "haproxy gives no answer on port $TASKSERV_PORT"
  fi
fi
say "haproxy listens on port $TASKSERV_PORT, ${up:-0} of $all backends up"

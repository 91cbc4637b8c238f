#!/bin/sh
# Any answer but a server error: the root may have no index page, an upstream may want a login.
answers() {
  code=$(curl --silent --show-error --max-time 5 --noproxy '*' --output /dev/null --write-out '%{http_code}' \
    "http://127.0.0.1:$TASKSERV_PORT/") || return 1
  [ "$code" -lt 500 ] || { printf 'HTTP %s\n' "$code"; return 1; }
}
eventually 10 answers || fail "nginx does not answer on port $TASKSERV_PORT"
answers
say "$(nginx -v 2>&1 | sed 's/^nginx version: //') answers $code on port $TASKSERV_PORT"

#!/bin/sh
base=http://$(local_address "$TASKSERV_BIND"):$TASKSERV_PORT
eventually 20 http_get "$base/-/ready" >/dev/null || fail "prometheus is not ready at $base"
answer=$(http_get "$base/api/v1/query?query=vector(42)") || fail 'prometheus answers no query'
case $answer in
  *'"status":"success"'*'"42"'*) ;;
  *) fail "prometheus answers a query wrongly: $answer" ;;
esac
version=$(http_get "$base/api/v1/status/buildinfo" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p')
say "prometheus $version answers queries at $base"

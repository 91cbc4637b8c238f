#!/bin/sh
address=$(lines "$TASKSERV_BIND" | head -n 1)
address=$(local_address "${address:-0.0.0.0}")
answers() { [ "$(dig +short +time=2 +tries=1 -p "$TASKSERV_PORT" "@$address" provisioning-check.invalid A)" = 127.0.0.1 ]; }
eventually 10 answers || fail "CoreDNS answers no question on $address:$TASKSERV_PORT"
say "CoreDNS answers on $address:$TASKSERV_PORT, $(lines "$TASKSERV_RECORDS" | wc -l) records of its own"

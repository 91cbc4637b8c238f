#!/bin/sh
base=http://$(local_address "$TASKSERV_MANAGEMENT_BIND"):$TASKSERV_MANAGEMENT_PORT/api
vhost=$(printf '%s' "$TASKSERV_VHOST" | sed 's,/,%2F,g')
queue=provisioning-check-$$
# The login goes by standard input: an argument could be seen by everybody on the host.
api() {
  printf 'user = "%s:%s"\n' "$TASKSERV_USER" "$TASKSERV_PASSWORD" |
    http_get --config - --header 'content-type: application/json' "$@"
}
eventually 60 api "$base/overview" >/dev/null || fail "RabbitMQ does not answer at $base as $TASKSERV_USER"
# Listeners are objects, none within another.
api "$base/overview" | tr '{' '\n' | grep '"protocol":"amqp"' | grep -F "\"port\":$TASKSERV_PORT" >/dev/null ||
  fail "RabbitMQ does not listen for AMQP on port $TASKSERV_PORT"

# The queue goes away by itself when the check is cut off.
api --request PUT --data '{"arguments":{"x-expires":60000}}' "$base/queues/$vhost/$queue"
api --data "{\"properties\":{},\"routing_key\":\"$queue\",\"payload\":\"hello\",\"payload_encoding\":\"string\"}" \
  "$base/exchanges/$vhost/amq.default/publish" | grep '"routed":true' >/dev/null || fail 'RabbitMQ takes no message'
api --data '{"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}' "$base/queues/$vhost/$queue/get" |
  grep '"payload":"hello"' >/dev/null || fail 'RabbitMQ delivers no message'
api --request DELETE "$base/queues/$vhost/$queue"
version=$(api "$base/overview" | sed -n 's/.*"rabbitmq_version":"\([^"]*\)".*/\1/p')
say "RabbitMQ $version delivers messages, AMQP on port $TASKSERV_PORT"

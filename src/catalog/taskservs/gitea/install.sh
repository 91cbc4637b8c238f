#!/bin/sh
if [ -n "$TASKSERV_ADMIN_USER" ]; then
  if [ -z "$TASKSERV_ADMIN_PASSWORD" ] || [ -z "$TASKSERV_ADMIN_EMAIL" ]; then
    fail 'config.admin_user needs config.admin_password and config.admin_email'
  fi
fi
if [ "$TASKSERV_DATABASE" = postgres ] && [ -z "$TASKSERV_DATABASE_PASSWORD" ]; then
  fail 'config.database "postgres" needs config.database_password'
fi
apt_install git
file=gitea-$TASKSERV_VERSION-linux-$(host_architecture)
program=/usr/local/bin/gitea
# Downloaded again where somebody has put another program there.
download "$TASKSERV_MIRROR/$TASKSERV_VERSION/$file" "$TASKSERV_SHA256" "$program"
chmod 0755 "$program"
getent passwd git >/dev/null || useradd --system --home-dir /var/lib/gitea --shell /bin/bash git
install -d -o git -g git -m 0750 /var/lib/gitea /var/lib/gitea/custom /var/lib/gitea/data /var/lib/gitea/log
install -d -o root -g git -m 0750 /etc/gitea

# Made once and kept: with others, sessions and stored credentials could not be read any more.
for secret in SECRET_KEY INTERNAL_TOKEN JWT_SECRET; do
  if [ ! -s "/etc/gitea/$secret" ]; then
    (umask 077 && "$program" generate secret "$secret" >"/etc/gitea/$secret.new")
    chown root:git "/etc/gitea/$secret.new"
    chmod 0640 "/etc/gitea/$secret.new"
    mv "/etc/gitea/$secret.new" "/etc/gitea/$secret"
  fi
done
if [ "$TASKSERV_DATABASE" = postgres ]; then
  database="DB_TYPE = postgres
HOST = $TASKSERV_DATABASE_HOST
NAME = $TASKSERV_DATABASE_NAME
USER = $TASKSERV_DATABASE_USER
PASSWD = \`$TASKSERV_DATABASE_PASSWORD\`"
else
  database='DB_TYPE = sqlite3
PATH = /var/lib/gitea/data/gitea.db'
fi
write_file /etc/gitea/app.ini 0640 root:git <<CONF
; by provisioning; changes are lost at the next install
APP_NAME = $TASKSERV_APP_NAME
RUN_USER = git
WORK_PATH = /var/lib/gitea

[server]
HTTP_ADDR = $TASKSERV_BIND
HTTP_PORT = $TASKSERV_PORT
ROOT_URL = ${TASKSERV_ROOT_URL:-http://$HOST_NAME:$TASKSERV_PORT/}
DISABLE_SSH = true
OFFLINE_MODE = true

[database]
$database

[repository]
ROOT = /var/lib/gitea/data/repositories

[security]
INSTALL_LOCK = true
SECRET_KEY_URI = file:/etc/gitea/SECRET_KEY
INTERNAL_TOKEN_URI = file:/etc/gitea/INTERNAL_TOKEN

[oauth2]
JWT_SECRET_URI = file:/etc/gitea/JWT_SECRET

[service]
DISABLE_REGISTRATION = $TASKSERV_DISABLE_REGISTRATION

[log]
MODE = console
LEVEL = Warn
CONF
SERVICE_ENVIRONMENT='GITEA_WORK_DIR=/var/lib/gitea USER=git' service_apply gitea - git \
  "$program" web --config /etc/gitea/app.ini

[ -n "$TASKSERV_ADMIN_USER" ] || exit 0
base=http://$(local_address "$TASKSERV_BIND"):$TASKSERV_PORT
eventually 60 http_get "$base/api/healthz" >/dev/null || fail "Gitea does not start at $base; see its log"
login() { printf 'user = "%s:%s"\n' "$TASKSERV_ADMIN_USER" "$TASKSERV_ADMIN_PASSWORD"; }
if ! login | http_get --config - "$base/api/v1/user" >/dev/null 2>&1; then
  as_git() { setpriv --reuid=git --regid=git --init-groups env HOME=/var/lib/gitea USER=git "$@"; }
  # Its command takes a password only as an argument, which everybody on the host could see. So it makes up one, and a
  # token, with which the right password is set.
  as_git "$program" admin user create --config /etc/gitea/app.ini --admin --username "$TASKSERV_ADMIN_USER" \
    --email "$TASKSERV_ADMIN_EMAIL" --random-password --must-change-password=false >/dev/null 2>&1 ||
    say "the user $TASKSERV_ADMIN_USER is there already"
  token_name=provisioning-$$-$(date +%s)
  token=$(as_git "$program" admin user generate-access-token --config /etc/gitea/app.ini --raw \
    --username "$TASKSERV_ADMIN_USER" --token-name "$token_name" --scopes write:admin) ||
    fail "no token can be made for $TASKSERV_ADMIN_USER"
  body=$(mktemp)
  trap 'rm -f "$body"' EXIT
  # The password's characters are such that they mean themselves in JSON.
  printf '{"login_name":"%s","source_id":0,"must_change_password":false,"password":"%s"}' "$TASKSERV_ADMIN_USER" \
    "$TASKSERV_ADMIN_PASSWORD" >"$body"
  printf 'header = "authorization: token %s"\n' "$token" | http_get --config - --request PATCH \
    --header 'content-type: application/json' --data "@$body" "$base/api/v1/admin/users/$TASKSERV_ADMIN_USER" >/dev/null ||
    fail "the password of $TASKSERV_ADMIN_USER cannot be set"
  login | http_get --config - --request DELETE "$base/api/v1/users/$TASKSERV_ADMIN_USER/tokens/$token_name"
  say "set up the user $TASKSERV_ADMIN_USER"
fi

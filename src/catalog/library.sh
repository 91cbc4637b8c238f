# shellcheck shell=sh
# Prepended to every install.sh, check.sh and remove.sh. docs/contracts/taskserv.md tells what there is.
set -eu
umask 022
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
PROVISIONING_RUN=/run/provisioning
PROVISIONING_ETC=/etc/provisioning
PROVISIONING_STATE=/var/lib/provisioning/state
PROVISIONING_LIB=/usr/local/lib/provisioning

# Set where the servers of the taskserv make one service; empty for a service of the host's own.
: "${CLUSTER_ROLE:=}" "${CLUSTER_LEADS:=}" "${CLUSTER_LEADER:=}" "${CLUSTER_LEADER_ADDRESS:=}" "${CLUSTER_MEMBERS:=}"

say() { printf '%s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# --- the host ---------------------------------------------------------------------------------------------------------

# shellcheck source=/dev/null
HOST_PLATFORM=$(. /etc/os-release && printf '%s-%s' "$ID" "${VERSION_ID:-unknown}")
HOST_NAME=${HOST_NAME:-$(uname -n)}
case " $TASKSERV_PLATFORMS " in
  *" $HOST_PLATFORM "*) ;;
  *) fail "$TASKSERV_NAME is made for $TASKSERV_PLATFORMS; this host has $HOST_PLATFORM" ;;
esac
[ "$(id -u)" = 0 ] || fail "$TASKSERV_NAME needs root; this is $(id -un)"

host_architecture() { dpkg --print-architecture; }

# The address by which others reach this host: HOST_ADDRESS where it was handed in, else that of the default route.
host_address() {
  if [ -n "${HOST_ADDRESS:-}" ]; then
    printf '%s' "$HOST_ADDRESS"
  else
    hostname -I | awk '{ printf "%s", $1 }'
  fi
}

has_systemd() { [ -d /run/systemd/system ]; }

# eventually SECONDS COMMAND…   runs it until it succeeds; its output is that of the last try
eventually() {
  eventually_end=$(($(date +%s) + $1))
  shift
  while :; do
    if eventually_output=$("$@" 2>&1); then
      [ -z "$eventually_output" ] || say "$eventually_output"
      return 0
    fi
    [ "$(date +%s)" -lt "$eventually_end" ] || break
    sleep 0.2
  done
  [ -z "$eventually_output" ] || printf '%s\n' "$eventually_output" >&2
  return 1
}

# --- files ------------------------------------------------------------------------------------------------------------

# Whether something was written that the running service has not read yet: its configuration, or (with the word
# "restart") its program. A file, not a variable: a script that is cut off between writing and restarting finds it again.
mark_changed() {
  mkdir -p "$PROVISIONING_RUN"
  printf '%s\n' "${1:-}" >>"$PROVISIONING_RUN/$TASKSERV_NAME.changed"
}

is_changed() { [ -e "$PROVISIONING_RUN/$TASKSERV_NAME.changed" ]; }

needs_restart() { grep -qs restart "$PROVISIONING_RUN/$TASKSERV_NAME.changed"; }

clear_changed() { rm -f "$PROVISIONING_RUN/$TASKSERV_NAME.changed"; }

# write_file PATH [MODE [OWNER:GROUP [restart]]]   content from standard input; replaced at once, and only where it differs
write_file() {
  write_mode=${2:-0644}
  write_owner=${3:-root:root}
  mkdir -p "$(dirname "$1")"
  write_new=$(mktemp "$1.XXXXXX")
  cat >"$write_new"
  chmod "$write_mode" "$write_new"
  chown "$write_owner" "$write_new"
  if cmp -s "$write_new" "$1" && [ "$(stat -c '%a %U:%G' "$write_new")" = "$(stat -c '%a %U:%G' "$1")" ]; then
    rm -f "$write_new"
    return 0
  fi
  mark_changed "${4:-}"
  mv -f "$write_new" "$1"
  say "wrote $1"
}

# quoted WORD   as a shell reads it back
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# lines TEXT   the non-empty lines of a list property, for `while read -r`
lines() { printf '%s\n' "$1" | sed '/^$/d'; }

# remember KEY TEXT, remembered KEY TEXT   whether TEXT is what was set up last, for what cannot be read back (a hashed
# password); only a digest is kept
digest_file() { printf '%s/%s/%s' "$PROVISIONING_STATE" "$TASKSERV_NAME" "$1"; }

remembered() { [ "$(printf '%s' "$2" | sha256sum)" = "$(cat "$(digest_file "$1")" 2>/dev/null)" ]; }

remember() {
  (umask 077 && mkdir -p "$PROVISIONING_STATE/$TASKSERV_NAME")
  printf '%s' "$2" | sha256sum >"$(digest_file "$1")"
}

# download URL SHA256 PATH   fetches a file, or keeps the one that is there; refuses what has another checksum
download() {
  case $2 in
    '') fail "no SHA-256 is known for $1; set the config's sha256" ;;
    *[!0-9a-f]*) fail "the SHA-256 of $1 must be 64 hexadecimal digits in lower case" ;;
  esac
  if [ -f "$3" ] && [ "$(sha256sum "$3" | cut -d ' ' -f 1)" = "$2" ]; then return 0; fi
  mkdir -p "$(dirname "$3")"
  download_new=$(mktemp "$3.XXXXXX")
  say "downloading $1"
  curl --fail --silent --show-error --location --proto '=http,https' --retry 3 --connect-timeout 15 --max-time 900 \
    --output "$download_new" "$1" || {
    rm -f "$download_new"
    fail "cannot download $1: is the mirror reachable from this host?"
  }
  download_sum=$(sha256sum "$download_new" | cut -d ' ' -f 1)
  if [ "$download_sum" != "$2" ]; then
    rm -f "$download_new"
    fail "$1 has the SHA-256 $download_sum, expected $2: not installed"
  fi
  mark_changed restart
  mv -f "$download_new" "$3"
}

# --- packages ---------------------------------------------------------------------------------------------------------

# Seconds to wait for another package manager, as unattended upgrades run for minutes on a fresh machine.
APT_LOCK_TIMEOUT=300

package_version() {
  dpkg-query -W -f '${db:Status-Abbrev} ${Version}' "$1" 2>/dev/null | awk '$1 == "ii" { printf "%s", $2 }'
}

apt_get() {
  apt-get -q -y -o DPkg::Lock::Timeout="$APT_LOCK_TIMEOUT" -o Acquire::http::Timeout=20 -o Acquire::Retries=1 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# A source that cannot be reached is told and no failure yet: the package may come from another one.
apt_update() {
  apt_end=$(($(date +%s) + APT_LOCK_TIMEOUT))
  while ! apt_output=$(apt_get update --error-on=any 2>&1); do
    case $apt_output in
      *'Could not get lock'*) [ "$(date +%s)" -lt "$apt_end" ] || fail "apt-get update: $apt_output" ;;
      *)
        printf '%s\n' "$apt_output" >&2
        say 'warning: not all package lists could be fetched: is the package mirror reachable from this host?' >&2
        return 0
        ;;
    esac
    sleep 1
  done
}

has_package_lists() { find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' | grep -q .; }

# A service that a package brings must not run before it is configured.
hold_services() {
  if [ -e /usr/sbin/policy-rc.d ] && ! grep -q 'by provisioning' /usr/sbin/policy-rc.d; then return 0; fi
  printf '#!/bin/sh\n# by provisioning, while packages are installed\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 0755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

release_services() {
  if grep -q 'by provisioning' /usr/sbin/policy-rc.d 2>/dev/null; then rm -f /usr/sbin/policy-rc.d; fi
  trap - EXIT
}

# apt_install PACKAGE[=VERSION]…   installs what is missing; without network where nothing is
apt_install() {
  apt_missing=
  for apt_package in "$@"; do
    apt_installed=$(package_version "${apt_package%%=*}")
    case $apt_package in
      *=*) [ "$apt_installed" = "${apt_package#*=}" ] || apt_missing="$apt_missing $apt_package" ;;
      *) [ -n "$apt_installed" ] || apt_missing="$apt_missing $apt_package" ;;
    esac
  done
  [ -n "$apt_missing" ] || return 0
  say "installing$apt_missing"
  mark_changed restart
  has_package_lists || apt_update
  hold_services
  # shellcheck disable=SC2086 # a list of words
  if ! apt_get install --no-install-recommends --allow-downgrades $apt_missing; then
    # The lists may be older than what the mirror has by now.
    apt_update
    # shellcheck disable=SC2086
    apt_get install --no-install-recommends --allow-downgrades $apt_missing ||
      fail "apt-get cannot install$apt_missing: its last lines say why"
  fi
  release_services
}

# apt_versioned PACKAGE   PACKAGE=VERSION for TASKSERV_VERSION, which is "distro" or the beginning of a version
apt_versioned() {
  if [ "$TASKSERV_VERSION" = distro ]; then
    printf '%s' "$1"
    return 0
  fi
  apt_wanted=$(printf '%s' "$TASKSERV_VERSION" | sed 's/[.+]/\\&/g')
  apt_pattern="^([0-9]+:)?$apt_wanted([^0-9].*)?\$"
  apt_installed=$(package_version "$1")
  if printf '%s\n' "$apt_installed" | grep -Eq "$apt_pattern"; then
    printf '%s=%s' "$1" "$apt_installed"
    return 0
  fi
  has_package_lists || apt_update
  apt_available=$(apt-cache madison "$1" | awk -F ' *[|] *' '{ print $2 }')
  apt_found=$(printf '%s\n' "$apt_available" | grep -E -m 1 "$apt_pattern") ||
    fail "$1 $TASKSERV_VERSION is not to be had on $HOST_PLATFORM; there is: $(printf '%s' "$apt_available" | tr '\n' ' ')"
  printf '%s=%s' "$1" "$apt_found"
}

# apt_remove PACKAGE…   leaves configuration and data, which remove.sh takes away itself where it is asked to
apt_remove() {
  apt_present=
  for apt_package in "$@"; do
    [ -z "$(package_version "$apt_package")" ] || apt_present="$apt_present $apt_package"
  done
  [ -n "$apt_present" ] || return 0
  say "removing$apt_present"
  # shellcheck disable=SC2086
  apt_get remove $apt_present || fail "apt-get cannot remove$apt_present: its last lines say why"
}

# --- services ---------------------------------------------------------------------------------------------------------
# With systemd, a service is the package's unit, or one of ours where the package has none. Without (containers), a small
# supervisor keeps the daemon running; its log is /var/log/provisioning/<service>.log.

# service_apply SERVICE UNIT USER COMMAND…   runs the service from now on and after each boot; restarts one that runs with
# an older configuration. UNIT "-": the package brings none. SERVICE_DIRECTORIES: directories under /run that belong to
# the user. SERVICE_RELOAD: signal that makes the daemon read its configuration; else it is restarted. SERVICE_STOP: signal
# that ends it, if not TERM. SERVICE_CAPABILITIES: what the user may do besides, as for setpriv. SERVICE_ENVIRONMENT: words
# NAME=value. SERVICE_PREPARE: shell commands before each start, as root. SERVICE_NO_BLOCK: do not wait until it is up.
service_apply() {
  service=$1
  service_unit=$2
  service_user=$3
  shift 3
  if has_systemd && [ "$service_unit" != - ]; then
    service_with_systemd "$service_unit"
  else
    service_script "$service" "$service_user" "$@"
    if has_systemd; then
      service_own_unit "$service"
      service_with_systemd "$service"
    else
      service_supervised "$service"
    fi
  fi
  clear_changed
}

service_with_systemd() {
  # With systemctl missing units are no news: a reload is cheap, and a changed one would be ignored without it.
  if is_changed; then systemctl daemon-reload; fi
  systemctl is-enabled --quiet "$1" 2>/dev/null || systemctl enable --quiet "$1"
  if ! systemctl is-active --quiet "$1"; then
    systemctl ${SERVICE_NO_BLOCK:+--no-block} restart "$1" || service_failed "$1"
    say "started $1"
  elif is_changed; then
    if [ -n "${SERVICE_RELOAD:-}" ] && ! needs_restart; then service_verb=reload-or-restart; else service_verb=restart; fi
    systemctl ${SERVICE_NO_BLOCK:+--no-block} "$service_verb" "$1" || service_failed "$1"
    say "$service_verb $1"
  fi
}

service_failed() {
  journalctl --no-pager --quiet --lines 20 --unit "$1" >&2 || true
  fail "$1 does not start; the lines above are its log"
}

# The daemon as a script, so that a unit and the supervisor start the same thing. An environment of its own: the
# installer's holds secrets.
service_script() {
  script_service=$1
  script_user=$2
  shift 2
  script_command=
  for script_word in "$@"; do script_command="$script_command $(quoted "$script_word")"; done
  script_home=$(getent passwd "$script_user" | cut -d : -f 6)
  [ -n "$script_home" ] || fail "there is no user $script_user"
  {
    printf '#!/bin/sh\n# %s, by provisioning\n# stop with %s\n' "$script_service" "${SERVICE_STOP:-TERM}"
    for script_directory in ${SERVICE_DIRECTORIES:-}; do
      printf 'install -d -o %s -g %s -m 0755 %s\n' "$script_user" "$(id -gn "$script_user")" "$script_directory"
    done
    if [ -n "${SERVICE_PREPARE:-}" ]; then printf '%s\n' "$SERVICE_PREPARE"; fi
    printf 'cd /\nexec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=%s%s' \
      "$(quoted "$script_home")" "${SERVICE_ENVIRONMENT:+ $SERVICE_ENVIRONMENT}"
    if [ "$script_user" != root ]; then
      printf ' setpriv --reuid=%s --regid=%s --init-groups%s --' "$script_user" "$(id -gn "$script_user")" \
        "${SERVICE_CAPABILITIES:+ --inh-caps=$SERVICE_CAPABILITIES --ambient-caps=$SERVICE_CAPABILITIES}"
    fi
    printf '%s\n' "$script_command"
  } >"$PROVISIONING_RUN/$script_service.script"
  write_file "$PROVISIONING_ETC/services/$script_service" 0700 <"$PROVISIONING_RUN/$script_service.script"
  rm -f "$PROVISIONING_RUN/$script_service.script"
}

service_own_unit() {
  write_file "/etc/systemd/system/$1.service" <<UNIT
[Unit]
Description=$1, by provisioning
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=$PROVISIONING_ETC/services/$1
Restart=always
RestartSec=2
KillSignal=SIG${SERVICE_STOP:-TERM}
KillMode=${SERVICE_KILL_MODE:-control-group}
Delegate=${SERVICE_DELEGATE:-no}
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
UNIT
}

service_supervised() {
  install_supervisor
  supervised_pid=$(supervisor_pid "$1")
  if [ -n "$supervised_pid" ]; then
    is_changed || return 0
    if [ -n "${SERVICE_RELOAD:-}" ] && ! needs_restart && ! script_changed "$1"; then
      kill -s "$SERVICE_RELOAD" "$(cat "$PROVISIONING_RUN/$1.pid")"
      say "reloaded $1"
      return 0
    fi
    supervised_stop "$1"
  fi
  # Nothing of this script stays open in it, or whoever waits for the script's output would wait for the daemon; nor does
  # this script's environment stay in it, which holds secrets.
  env -i PATH="$PATH" LANG=C.UTF-8 setsid "$PROVISIONING_LIB/supervise" "$1" \
    </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
  cp "$PROVISIONING_ETC/services/$1" "$PROVISIONING_RUN/$1.running"
  say "started $1"
}

# Whether the daemon runs with another command than the one it was started with.
script_changed() { ! cmp -s "$PROVISIONING_ETC/services/$1" "$PROVISIONING_RUN/$1.running"; }

# The supervisor's process, where it runs; process numbers are given out again after a restart.
supervisor_pid() {
  found_pid=$(cat "$PROVISIONING_RUN/$1.supervisor" 2>/dev/null) || return 0
  if tr '\0' ' ' <"/proc/$found_pid/cmdline" 2>/dev/null | grep -q "provisioning/supervise $1 "; then
    printf '%s' "$found_pid"
  fi
}

supervised_stop() {
  stop_pid=$(supervisor_pid "$1")
  [ -n "$stop_pid" ] || return 0
  kill -TERM "$stop_pid" 2>/dev/null || return 0
  stop_end=$(($(date +%s) + 60))
  while [ -n "$(supervisor_pid "$1")" ]; do
    [ "$(date +%s)" -lt "$stop_end" ] || fail "$1 does not stop"
    sleep 0.1
  done
}

install_supervisor() {
  changed_before=
  if is_changed; then changed_before=yes; fi
  write_file "$PROVISIONING_LIB/supervise" 0755 <<'SUPERVISE'
#!/bin/sh
# supervise SERVICE   keeps /etc/provisioning/services/SERVICE running until it gets a TERM; by provisioning
set -u
run=/run/provisioning
log=/var/log/provisioning/$1.log
mkdir -p "$run" "${log%/*}"
exec 8>"$run/$1.lock"
flock -n 8 || exit 0
printf '%s\n' $$ >"$run/$1.supervisor"
stopping=
child=
signal=$(sed -n 's/^# stop with //p' "/etc/provisioning/services/$1")
trap 'stopping=1; [ -z "$child" ] || kill -s "${signal:-TERM}" "$child" 2>/dev/null' TERM INT
trap '' HUP
while [ -z "$stopping" ]; do
  if [ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -gt 10485760 ]; then mv -f "$log" "$log.1"; fi
  # A session of its own: its number is also that of all its processes.
  setsid "/etc/provisioning/services/$1" </dev/null >>"$log" 2>&1 8>&- &
  child=$!
  printf '%s\n' "$child" >"$run/$1.pid"
  [ -z "$stopping" ] || kill -s "${signal:-TERM}" "$child" 2>/dev/null
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
    if [ -n "$stopping" ]; then
      ticks=0
      while kill -0 "$child" 2>/dev/null && [ "$ticks" -lt 300 ]; do
        sleep 0.1
        ticks=$((ticks + 1))
      done
      break
    fi
  done
  kill -KILL "-$child" 2>/dev/null
  [ -n "$stopping" ] || { printf 'supervise: %s ended (status %s), starting it again\n' "$1" "$status" >>"$log"; sleep 1; }
done
rm -f "$run/$1.supervisor" "$run/$1.pid"
SUPERVISE
  write_file "$PROVISIONING_LIB/start-services" 0755 <<'START'
#!/bin/sh
# Starts what was installed in a machine without systemd, after it was started again; by provisioning
for script in /etc/provisioning/services/*; do
  [ -x "$script" ] || continue
  setsid "${0%/*}/supervise" "${script##*/}" </dev/null >/dev/null 2>&1 &
done
START
  # The supervisor itself is no reason to restart a daemon.
  [ -n "$changed_before" ] || clear_changed
}

# service_remove SERVICE UNIT   stops it for good; the package stays
service_remove() {
  if has_systemd; then
    remove_unit=$2
    [ "$remove_unit" != - ] || remove_unit=$1
    if systemctl cat "$remove_unit" >/dev/null 2>&1; then
      systemctl disable --now --quiet "$remove_unit" || fail "$remove_unit does not stop"
    fi
    if [ -e "/etc/systemd/system/$1.service" ] && grep -q 'by provisioning' "/etc/systemd/system/$1.service"; then
      rm -f "/etc/systemd/system/$1.service"
      systemctl daemon-reload
    fi
  else
    supervised_stop "$1"
  fi
  rm -f "$PROVISIONING_ETC/services/$1" "$PROVISIONING_RUN/$1.running" "$PROVISIONING_RUN/$1.lock" \
    "/var/log/provisioning/$1.log" "/var/log/provisioning/$1.log.1"
}

# forget   the last line of each remove.sh: the host keeps no trace of the taskserv's config
forget() {
  rm -f "$TASKSERV_CONFIG" "$PROVISIONING_RUN/$TASKSERV_NAME.changed"
  rm -rf "${PROVISIONING_STATE:?}/$TASKSERV_NAME"
}

# local_address BIND   where a daemon that listens on BIND is reached from this host
local_address() {
  case $1 in
    '' | 0.0.0.0 | '*') printf 127.0.0.1 ;;
    '::' | '[::]') printf '[::1]' ;;
    *) printf '%s' "$1" ;;
  esac
}

# http_get URL [CURL OPTION…]   the body of a 2xx answer
http_get() { curl --fail --silent --show-error --max-time 5 --noproxy '*' "$@"; }

# --- services across servers ------------------------------------------------------------------------------------------

# fact NAME VALUE   in admit.sh: what the newcomer's install.sh and check.sh get as FACT_NAME; in kubeconfig.sh: what the
# caller gets. It is in no log and no file.
fact() { printf '%s %s %s\n' "$FACT_MARK" "$1" "$(printf '%s' "$2" | base64 -w 0)"; }

# cluster_members [ROLE]   the addresses of all members, or of those with the role, one in a line
cluster_members() { lines "$CLUSTER_MEMBERS" | awk -v role="${1:-}" 'role == "" || $2 == role { print $3 }'; }

# --- the taskserv -----------------------------------------------------------------------------------------------------

#!/bin/sh
# Tells on both streams that the script has ended, and how: a stream may be held open by what the script left behind, and
# some engines forget how a command ended before one can ask. $1: bootstrap.sh, the rest as there.

exec 3>&2 2>/dev/null
sh -c "$1" provisioning-run "$2" "$3" 2>&3 3>&-
status=$?
printf "\nprovisioning-end %s %s\n" "$2" "$status"
printf "\nprovisioning-end %s %s\n" "$2" "$status" >&3

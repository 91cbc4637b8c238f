#!/bin/sh
# Puts standard input at $path, whole or not at all, with $mode, if its SHA-256 is $sum.
# shellcheck disable=SC2154

set -eu
umask 022
mkdir -p "$(dirname "$path")"
temporary=$path.provisioning-$$
trap 'rm -f "$temporary"' EXIT
(umask 077 && cat >"$temporary")
found=$(sha256sum <"$temporary")
if [ "${found%% *}" != "$sum" ]; then echo "the checksum differs: the content did not arrive whole" >&2; exit 1; fi
chown 0:0 "$temporary"
chmod "$mode" "$temporary"
mv -f "$temporary" "$path"

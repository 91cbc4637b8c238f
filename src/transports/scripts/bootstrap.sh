#!/bin/sh
# Reads the script from standard input, whole or not at all, says that it begins, and becomes it. Whatever follows on
# standard input is the script's. $1: the run's id, $2: bytes of the script. Nothing of the script is in an argument.

PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
cd /
provisioning_script=$(dd bs="$2" count=1 iflag=fullblock 2>/dev/null)
case $provisioning_script in *"#end $1") ;; *) echo "the script did not arrive whole" >&2; exit 125 ;; esac
echo "provisioning-run $1"
eval "$provisioning_script"

#!/bin/sh
# A null call by TCP: the server answers.
serves() { rpcinfo -a 127.0.0.1.8.1 -T tcp nfs 4; }
eventually 10 serves >/dev/null || fail 'the NFS server does not answer on port 2049'
exported=$(exportfs -s)
lines "$TASKSERV_EXPORTS" | cut -d ' ' -f 1 | while read -r directory; do
  printf '%s\n' "$exported" | grep -F "$directory " >/dev/null || fail "$directory is not exported"
  [ -d "$directory" ] || fail "$directory is missing"
done
say "NFS serves $(lines "$TASKSERV_EXPORTS" | wc -l) directories"

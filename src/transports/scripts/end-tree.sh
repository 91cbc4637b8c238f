#!/bin/sh
# Ends every process of a run: those that carry its mark in their environment, all below them, and all in their sessions.
# They get five seconds to end in order. $marked: the run's id. Written for what every Debian has; procps is not among it.
# Sessions 0 and 1 are not a run's own: in a container they may be everybody's.
# shellcheck disable=SC2086,SC2154

tree() {
  found=$(grep -lzsx "PROVISIONING_RUN=$marked" /proc/[0-9]*/environ | sed 's|/proc/||; s|/environ||')
  # Not by sed alone: at a process that ends while it is read, sed gives up, and all that come behind it would go on.
  cat /proc/[0-9]*/stat 2>/dev/null |
    # pid, state, parent, session: the name before them may hold blanks and brackets
    sed -n 's/^\([0-9]*\) (.*) \([A-Za-z]\) \([0-9]*\) [0-9]* \([0-9]*\) .*/\1 \2 \3 \4/p' |
    awk -v found="$found" -v known="$known" '
      BEGIN { n = split(found " " known, given, /[ \n]+/); for (i = 1; i <= n; i++) if (given[i] != "") hit[given[i]] = 1 }
      { live[$1] = ($2 != "Z"); parent[$1] = $3; session[$1] = $4 }
      END {
        for (pid in hit) if (pid in live && session[pid] > 1) sessions[session[pid]] = 1
        for (pid in live) if (session[pid] in sessions) hit[pid] = 1
        do {
          more = 0
          for (pid in live) if (!(pid in hit) && (parent[pid] in hit)) { hit[pid] = 1; more = 1 }
        } while (more)
        for (pid in hit) if (live[pid]) print pid
      }'
}
known=
begun=$(date +%s)
pause=0.05
while :; do
  pids=$(tree)
  if [ -z "$pids" ]; then exit 0; fi
  age=$(($(date +%s) - begun))
  if [ -z "$known" ]; then kill -TERM $pids 2>/dev/null; fi
  if [ "$age" -ge 5 ]; then kill -KILL $pids 2>/dev/null; fi
  if [ "$age" -ge 15 ]; then echo "still running: $pids" >&2; exit 1; fi
  known=$pids
  sleep "$pause"
  case $pause in 0.05) pause=0.2 ;; *) pause=0.5 ;; esac
done

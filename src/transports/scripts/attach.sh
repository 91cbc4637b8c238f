#!/bin/sh
# Begins the job unless it was begun, then prints its log from line $from on until its end. Its directory appears whole by
# a rename, and whoever makes the link `claim` runs it: any number of these scripts at once begin it once.
# $id, $jobs: the directory of all jobs; $runner: job-runner.sh; $job_script, $job_env: what the job runs.
# shellcheck disable=SC2154

set -eu
umask 077
directory=$jobs/$id
if [ ! -d "$directory" ]; then
  # What else lies beside the jobs is not theirs to close.
  (umask 022 && mkdir -p "${jobs%/*}")
  mkdir -p "$jobs"
  made=$(mktemp -d "$jobs/.new-XXXXXX")
  trap 'rm -rf "$made"' EXIT
  # Not by the shell itself: of a full disk it says no more than "I/O error".
  printf '%s\n' "$job_script" | cat >"$made/script"
  printf '%s\n' "$job_env" | cat >"$made/env"
  printf '%s\n' "$runner" | cat >"$made/runner"
  date +%s >"$made/started"
  : >"$made/log"
  mv -T "$made" "$directory" 2>/dev/null || { rm -rf "$made"; [ -d "$directory" ]; }
fi
cd "$directory"
echo "s$(($(date +%s) - $(cat started)))"
if [ ! -e claim ]; then (unset PROVISIONING_RUN; setsid sh ./runner "$id" >/dev/null 2>&1 </dev/null &); fi
alive() {
  read -r boot pid begun <claim || return 1
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 1
  [ "$begun" = "$(sed 's/^.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)" ]
}
fifo=$directory/follow-$$
mkfifo "$fifo"
# Not every file system tells tail of new lines: it has to look. BusyBox knows whole seconds alone.
often=0.05
tail -s "$often" -n 0 /dev/null 2>/dev/null || often=1
tail -s "$often" -n "+$from" -f log >"$fifo" 2>/dev/null &
tail_pid=$!
(
  misses=0
  while [ "$misses" -lt 2 ]; do
    sleep 1
    if ! kill -0 $$; then kill "$tail_pid"; rm -f "$fifo"; exit; fi
    if [ -e exit ] || alive; then misses=0; else misses=$((misses + 1)); fi
  done
  echo l >"$fifo"
) >/dev/null 2>&1 </dev/null &
watcher=$!
trap 'kill "$tail_pid" "$watcher" 2>/dev/null || :; rm -f "$fifo"' EXIT
while IFS= read -r line; do
  printf '%s\n' "$line"
  case $line in x* | l*) break ;; esac
done <"$fifo"

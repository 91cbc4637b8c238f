#!/bin/sh
# What stays on the host: claims the job, runs it, and writes down its lines and its end. $1: the job's id.

id=$1
umask 077
begun=$(sed 's/^.*) //' "/proc/$$/stat" | cut -d ' ' -f 20)
echo "$(cat /proc/sys/kernel/random/boot_id) $$ $begun" >"claim-$$"
ln "claim-$$" claim || { rm -f "claim-$$"; exit; }
rm -f "claim-$$"
mark="end of $id $(cat /proc/sys/kernel/random/uuid)"
write_down() {
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      *"$mark")
        line=${line%"$mark"}
        if [ -n "$line" ]; then printf '%s%s\n' "$1" "$line"; fi
        return ;;
    esac
    printf '%s%s\n' "$1" "$line"
  done
}
mkfifo out err
write_down o <out >>log &
write_down e <err >>log &
exec 8>out 9>err
(
  exec >&8 2>&9 8>&- 9>&-
  # shellcheck source=/dev/null
  . ./env
  rm -f env
  umask 022
  PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  export PATH
  script=$PWD/script
  cd /
  PROVISIONING_RUN=job-$id exec setsid sh "$script"
) </dev/null &
wait $!
status=$?
printf '%s\n' "$mark" >&8
printf '%s\n' "$mark" >&9
wait
exec 8>&- 9>&-
echo "$status" >exit.new && mv exit.new exit
echo "x$status" >>log
rm -f out err script env runner
find .. -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +

#!/bin/sh
version=$(apt_versioned nfs-kernel-server)
apt_install "$version"
lines "$TASKSERV_EXPORTS" | cut -d ' ' -f 1 | while read -r directory; do mkdir -p "$directory"; done
# A file of its own: what the host exports besides stays in /etc/exports.
write_file /etc/exports.d/provisioning.exports <<CONF
# by provisioning; changes are lost at the next install
$TASKSERV_EXPORTS
CONF
write_file /etc/nfs.conf.d/provisioning.conf 0644 root:root restart <<CONF
# by provisioning; changes are lost at the next install
[nfsd]
threads=$TASKSERV_THREADS
vers3=n
CONF
if has_systemd; then
  SERVICE_RELOAD=HUP service_with_systemd nfs-server
else
  # The kernel serves; these only tell it what.
  grep -q 'nfsd$' /proc/filesystems || modprobe nfsd || fail 'the kernel has no NFS server'
  mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd || fail 'the NFS file system cannot be mounted'
  if is_changed || ! rpcinfo -a 127.0.0.1.8.1 -T tcp nfs 4 >/dev/null 2>&1; then
    exportfs -r || fail 'the exports are not accepted; the lines above say why'
    service_apply nfs-mountd - root rpc.mountd --foreground
    rpc.nfsd "$TASKSERV_THREADS" || fail 'the kernel does not start to serve'
    say 'started nfs-server'
  fi
fi
clear_changed

#!/bin/sh
service_remove k3s -
service_remove k3s-agent -
# Containers outlive k3s; the vendor's uninstaller ends them in the same way.
for shim in /proc/[0-9]*; do
  if tr '\0' ' ' <"$shim/cmdline" 2>/dev/null | grep -q '/k3s/data/[^ ]*/containerd-shim'; then
    pkill -KILL --parent "${shim#/proc/}" || true
    kill -KILL "${shim#/proc/}" 2>/dev/null || true
  fi
done
awk '$2 ~ "^/(run/k3s|var/lib/rancher/k3s|var/lib/kubelet/pods|run/netns/cni-)" { print $2 }' /proc/self/mounts |
  sort -r | while read -r mount; do umount --lazy "$mount" || say "warning: $mount stays mounted"; done
for link in cni0 flannel.1 flannel-v6.1 flannel-wg; do
  if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link"; fi
done
for name in kubectl crictl ctr; do
  if [ "$(readlink "/usr/local/bin/$name")" = k3s ]; then rm -f "/usr/local/bin/$name"; fi
done
rm -f /usr/local/bin/k3s /etc/rancher/k3s/config.yaml /etc/rancher/k3s/k3s.yaml
[ "$TASKSERV_REMOVE_DATA" = false ] || rm -rf /var/lib/rancher/k3s /var/lib/kubelet /etc/rancher
forget

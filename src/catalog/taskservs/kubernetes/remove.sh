#!/bin/sh
# The kubelet first: it would start again what the reset takes away.
service_remove kubelet -
service_remove pod-network -
if [ -x /usr/local/bin/kubeadm ] && [ "$TASKSERV_REMOVE_DATA" = true ]; then
  kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock || fail 'kubeadm reset failed'
fi
if remembered crictl installed; then rm -f /usr/local/bin/crictl; fi
rm -f /usr/local/bin/kubeadm /usr/local/bin/kubelet /usr/local/bin/kubectl "$PROVISIONING_LIB/kubelet" \
  "$PROVISIONING_LIB/pod-network" /etc/kubernetes/provisioning.yaml /etc/kubernetes/pod-network.conf \
  /etc/modules-load.d/kubernetes.conf /etc/sysctl.d/90-kubernetes.conf
if [ "$TASKSERV_REMOVE_DATA" = true ]; then
  # The kubelet mounts it over itself where / is not shared.
  while mountpoint -q /var/lib/kubelet; do umount -R /var/lib/kubelet || fail '/var/lib/kubelet is in use'; done
  rm -rf /etc/kubernetes /var/lib/kubelet /var/lib/etcd /var/lib/cni
  # The directory stays: containerd watches it, and would not see one made anew.
  if [ -d /etc/cni/net.d ]; then find /etc/cni/net.d -mindepth 1 -delete; fi
  for link in cni0 pod-vxlan; do
    if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link"; fi
  done
  # kube-proxy's and the network's: what they sent to pods would be lost.
  for command in iptables ip6tables; do
    command -v "$command-save" >/dev/null || continue
    "$command-save" | grep -Ev 'KUBE-|CNI-|--comment "?pod-network"?' | "$command-restore"
  done
fi
forget

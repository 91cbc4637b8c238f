#!/bin/sh
if [ -x /usr/local/bin/kubeadm ] && [ "$TASKSERV_REMOVE_DATA" = true ]; then
  kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock || fail 'kubeadm reset failed'
fi
service_remove kubelet -
rm -f /usr/local/bin/kubeadm /usr/local/bin/kubelet /usr/local/bin/kubectl "$PROVISIONING_LIB/kubelet" \
  /etc/kubernetes/provisioning.yaml /etc/modules-load.d/kubernetes.conf /etc/sysctl.d/90-kubernetes.conf
if [ "$TASKSERV_REMOVE_DATA" = true ]; then rm -rf /etc/kubernetes /var/lib/kubelet /var/lib/etcd /etc/cni/net.d; fi
forget

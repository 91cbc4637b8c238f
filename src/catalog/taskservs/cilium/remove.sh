#!/bin/sh
kubeconfig=$TASKSERV_KUBECONFIG
if [ -z "$kubeconfig" ]; then
  kubeconfig=/etc/rancher/k3s/k3s.yaml
  if [ -s /etc/kubernetes/admin.conf ]; then kubeconfig=/etc/kubernetes/admin.conf; fi
fi
# Where the cluster itself is gone, so is what ran in it.
if [ -x /usr/local/bin/cilium ] && [ -s "$kubeconfig" ]; then
  KUBECONFIG=$kubeconfig cilium uninstall --wait || fail 'cilium uninstall failed; the lines above say why'
fi
rm -f /usr/local/bin/cilium
forget

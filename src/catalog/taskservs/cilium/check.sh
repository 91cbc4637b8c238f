#!/bin/sh
kubeconfig=$TASKSERV_KUBECONFIG
if [ -z "$kubeconfig" ]; then
  kubeconfig=/etc/rancher/k3s/k3s.yaml
  if [ -s /etc/kubernetes/admin.conf ]; then kubeconfig=/etc/kubernetes/admin.conf; fi
fi
KUBECONFIG=$kubeconfig cilium status --wait --wait-duration 5m --interactive=false || fail 'cilium is not healthy in this cluster'

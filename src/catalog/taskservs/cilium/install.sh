#!/bin/sh
kubeconfig=$TASKSERV_KUBECONFIG
if [ -z "$kubeconfig" ]; then
  for kubeconfig in /etc/kubernetes/admin.conf /etc/rancher/k3s/k3s.yaml; do
    if [ -s "$kubeconfig" ]; then break; fi
  done
fi
[ -s "$kubeconfig" ] || fail 'this host is no control plane of a Kubernetes cluster: there is no kubeconfig on it'
if [ "$TASKSERV_REPLACE_KUBE_PROXY" = true ] && [ -z "$TASKSERV_API_SERVER" ]; then
  fail 'config.replace_kube_proxy needs config.api_server, which cannot be reached through what is replaced'
fi
export KUBECONFIG="$kubeconfig"

# As the vendor publishes them beside each file (<file>.sha256sum); taken over from kubespray's list.
case $TASKSERV_CLI_VERSION-$(host_architecture) in
  0.19.4-amd64) sum=98ecd554591a592b0ee32f5d73871133bcee06639619f1c032bcba339340dc26 ;;
  0.19.4-arm64) sum=866c86683aa63c943a94ca2af5dc2b0db3483d1c3ed8c72baeeabd13061a7e42 ;;
  *) sum= ;;
esac
sum=${TASKSERV_SHA256:-$sum}
program=/usr/local/bin/cilium
if ! remembered program "$sum" || [ ! -x "$program" ]; then
  archive=/var/cache/provisioning/cilium-linux-$(host_architecture).tar.gz
  download "$TASKSERV_MIRROR/v$TASKSERV_CLI_VERSION/cilium-linux-$(host_architecture).tar.gz" "$sum" "$archive"
  tar -xzf "$archive" -C /var/cache/provisioning cilium
  install -m 0755 /var/cache/provisioning/cilium "$program"
  rm -f /var/cache/provisioning/cilium "$archive"
  remember program "$sum"
fi

set -- --set "ipam.operator.clusterPoolIPv4PodCIDRList=$TASKSERV_POD_CIDR" \
  --set "operator.replicas=$TASKSERV_OPERATOR_REPLICAS" --set "kubeProxyReplacement=$TASKSERV_REPLACE_KUBE_PROXY"
if [ -n "$TASKSERV_API_SERVER" ]; then
  set -- "$@" --set "k8sServiceHost=${TASKSERV_API_SERVER%:*}" --set "k8sServicePort=${TASKSERV_API_SERVER##*:}"
fi
if [ "$TASKSERV_HUBBLE" = true ]; then set -- "$@" --set hubble.relay.enabled=true --set hubble.ui.enabled=true; fi
for value in $(lines "$TASKSERV_SET"); do set -- "$@" --set "$value"; done

# Written once it is so: what the cluster runs is not read back, as the chart's values change with its version.
wanted="$TASKSERV_VERSION $*"
if remembered cluster "$wanted"; then exit 0; fi
if "$program" version | grep -q '^cilium image (running): v'; then
  "$program" upgrade --version "$TASKSERV_VERSION" "$@" || fail 'cilium upgrade failed; the lines above say why'
else
  "$program" install --version "$TASKSERV_VERSION" "$@" || fail 'cilium install failed; the lines above say why'
fi
remember cluster "$wanted"
clear_changed

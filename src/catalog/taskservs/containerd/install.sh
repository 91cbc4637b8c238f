#!/bin/sh
version=$(apt_versioned containerd)
apt_install "$version" runc containernetworking-plugins

for mirror in /etc/containerd/certs.d/*; do
  if [ -e "$mirror/hosts.toml" ] && grep -q 'by provisioning' "$mirror/hosts.toml"; then
    lines "$TASKSERV_REGISTRY_MIRRORS" | grep -Fq "${mirror##*/}=" || rm -rf "$mirror"
  fi
done
for mirror in $(lines "$TASKSERV_REGISTRY_MIRRORS"); do
  write_file "/etc/containerd/certs.d/${mirror%%=*}/hosts.toml" <<CONF
# by provisioning
[host."${mirror#*=}"]
  capabilities = ["pull", "resolve"]
CONF
done
systemd_cgroup=$TASKSERV_SYSTEMD_CGROUP
has_systemd || systemd_cgroup=false
# Without CAP_SYS_RESOURCE (bit 24) no process may be made less likely to be killed than its parent.
capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
restrict_oom=false
[ $((0x$capabilities >> 24 & 1)) = 1 ] || restrict_oom=true
write_file /etc/containerd/config.toml <<CONF
# by provisioning; changes are lost at the next install
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$TASKSERV_SANDBOX_IMAGE"
  restrict_oom_score_adj = $restrict_oom
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$TASKSERV_SNAPSHOTTER"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = $systemd_cgroup
CONF
# Kubernetes' network plugins put theirs into /opt/cni/bin; the distribution's are elsewhere.
mkdir -p /opt/cni/bin
for plugin in /usr/lib/cni/*; do
  [ ! -f "$plugin" ] || [ -e "/opt/cni/bin/${plugin##*/}" ] || ln -s "$plugin" "/opt/cni/bin/${plugin##*/}"
done
service_apply containerd containerd root containerd

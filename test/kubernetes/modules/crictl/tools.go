//go:build tools

// Package crictl names the command that kubeadm pulls images by before 1.31. The version that the catalog has is no module
// that can be had; this one speaks the same protocol with the runtime.
package crictl

import _ "sigs.k8s.io/cri-tools/cmd/crictl"

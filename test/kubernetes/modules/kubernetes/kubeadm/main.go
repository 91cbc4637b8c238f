// kubeadm as it is, but for one check before it starts: that puts IPv4 addresses in brackets into a URL, which Go does not
// parse any more since 1.25.2. The vendor builds this version with an older one.
package main

import (
	"os"

	"k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmutil "k8s.io/kubernetes/cmd/kubeadm/app/util"
)

func main() {
	if len(os.Args) > 2 && (os.Args[1] == "init" || os.Args[1] == "join") && os.Args[2] != "phase" {
		os.Args = append(os.Args, "--ignore-preflight-errors=HTTPProxyCIDR")
	}
	kubeadmutil.CheckErr(app.Run())
}

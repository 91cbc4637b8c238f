// What hcloud-go, Hetzner's own library, makes of the stand-in and of what the provider asks of it.
//
//	hetzner version           which hcloud-go this is
//	hetzner life ENDPOINT     leads a server through its whole life there, with the token in HCLOUD_TOKEN
//	hetzner judge             reads exchanges and tells where they differ from hcloud-go's schemas
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
)

func main() {
	var said any
	var err error
	switch os.Args[1] {
	case "version":
		said = version()
	case "life":
		said, err = life(os.Args[2], os.Getenv("HCLOUD_TOKEN"))
	case "judge":
		said, err = judge(os.Stdin)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/hetznercloud/hcloud-go/v2" {
			return "hcloud-go " + module.Version
		}
	}
	return "hcloud-go, of an unknown version"
}

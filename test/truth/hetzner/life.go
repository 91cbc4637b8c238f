package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
)

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH me"

// walk does one step after the other until one fails.
type walk struct {
	ctx    context.Context
	client *hcloud.Client
	facts  map[string]any
	err    error
}

// try keeps the first error, with the step's name.
func (w *walk) try(name string, step func() error) {
	if w.err != nil {
		return
	}
	if err := step(); err != nil {
		w.err = fmt.Errorf("%s: %w", name, err)
	}
}

// waitFor is what the command line does with every action.
func (w *walk) waitFor(actions ...*hcloud.Action) error {
	return w.client.Action.WaitFor(w.ctx, actions...)
}

func (w *walk) act(action *hcloud.Action, _ *hcloud.Response, err error) error {
	if err != nil {
		return err
	}
	return w.waitFor(action)
}

// code is what an error is known by.
func code(err error) string {
	var api hcloud.Error
	if errors.As(err, &api) {
		return string(api.Code)
	}
	var action hcloud.ActionError
	if errors.As(err, &action) {
		return "action: " + action.Code
	}
	return fmt.Sprint(err)
}

func life(endpoint, token string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	poll := hcloud.WithPollOpts(hcloud.PollOpts{BackoffFunc: hcloud.ConstantBackoff(20 * time.Millisecond)})
	retry := hcloud.WithRetryOpts(hcloud.RetryOpts{BackoffFunc: hcloud.ConstantBackoff(time.Millisecond), MaxRetries: 2})
	client := hcloud.NewClient(hcloud.WithEndpoint(endpoint+"/v1"), hcloud.WithToken(token), poll, retry)
	w := &walk{ctx: ctx, client: client, facts: map[string]any{}}

	var serverType *hcloud.ServerType
	var image *hcloud.Image
	var key *hcloud.SSHKey
	var network *hcloud.Network
	var server *hcloud.Server
	w.try("server types", func() (err error) {
		soldOut, _, err := client.ServerType.GetByName(ctx, "cx23")
		if err != nil {
			return err
		}
		standing := map[string]string{}
		for _, place := range soldOut.Locations {
			standing[place.Location.Name] = fmt.Sprintf("available=%t deprecated=%t", place.Available, place.IsDeprecated())
		}
		w.facts["cx23"] = standing
		byName, _, err := client.ServerType.Get(ctx, "cpx22")
		if err != nil {
			return err
		}
		serverType, _, err = client.ServerType.GetByID(ctx, byName.ID)
		return err
	})
	w.try("images", func() (err error) {
		image, _, err = client.Image.GetForArchitecture(ctx, "debian-12", serverType.Architecture)
		return err
	})
	w.try("prices", func() error {
		prices, _, err := client.Pricing.Get(ctx)
		w.facts["currency"] = prices.Currency
		return err
	})
	w.try("keys", func() (err error) {
		opts := hcloud.SSHKeyCreateOpts{Name: "me", PublicKey: publicKey, Labels: map[string]string{"who": "me"}}
		if key, _, err = client.SSHKey.Create(ctx, opts); err != nil {
			return err
		}
		labelled, err := client.SSHKey.AllWithOpts(ctx, hcloud.SSHKeyListOpts{ListOpts: hcloud.ListOpts{LabelSelector: "who=me"}})
		w.facts["keys by label"] = len(labelled)
		_, _, again := client.SSHKey.Create(ctx, opts)
		w.facts["key twice"] = code(again)
		return err
	})
	w.try("networks", func() (err error) {
		_, all, _ := net.ParseCIDR("10.8.0.0/16")
		network, _, err = client.Network.Create(ctx, hcloud.NetworkCreateOpts{Name: "ours", IPRange: all})
		return err
	})
	opts := func(name string) hcloud.ServerCreateOpts {
		return hcloud.ServerCreateOpts{
			Name: name, ServerType: serverType, Image: image, Location: &hcloud.Location{Name: "fsn1"},
			SSHKeys: []*hcloud.SSHKey{key}, Networks: []*hcloud.Network{network}, Labels: map[string]string{"env": "prod"},
			UserData: "#cloud-config\n",
		}
	}
	create := func(opts hcloud.ServerCreateOpts) (*hcloud.Server, error) {
		result, _, err := client.Server.Create(ctx, opts)
		if err != nil {
			return nil, err
		}
		return result.Server, w.waitFor(append(result.NextActions, result.Action)...)
	}
	w.try("create", func() (err error) {
		if server, err = create(opts("web-1")); err != nil {
			return err
		}
		_, err = create(opts("web-2"))
		return err
	})
	w.try("describe", func() (err error) {
		if server, _, err = client.Server.GetByName(ctx, "web-1"); err != nil {
			return err
		}
		w.facts["made"] = []any{server.Name, server.Status, server.Location.Name, server.ServerType.Name, server.Image.Name,
			len(server.PrivateNet), server.Labels["env"], server.PublicNet.IPv4.IP != nil, server.PublicNet.IPv6.Network != nil}
		return nil
	})
	w.try("labels", func() (err error) {
		server, _, err = client.Server.Update(ctx, server, hcloud.ServerUpdateOpts{Labels: map[string]string{"env": "test"}})
		if err != nil {
			return err
		}
		found, err := client.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: "env==test"}})
		w.facts["by label"] = len(found)
		return err
	})
	w.try("shut down", func() error { return w.act(client.Server.Shutdown(ctx, server)) })
	w.try("change the type", func() (err error) {
		other, _, err := client.ServerType.GetByName(ctx, "cx33")
		if err != nil {
			return err
		}
		change := hcloud.ServerChangeTypeOpts{ServerType: other}
		if err = w.act(client.Server.ChangeType(ctx, server, change)); err != nil {
			return err
		}
		_, _, running := client.Server.ChangeType(ctx, server, change)
		w.facts["type of one that runs"] = code(running)
		server, _, err = client.Server.GetByID(ctx, server.ID)
		w.facts["changed"] = []any{server.ServerType.Name, server.Status}
		return err
	})
	w.try("power off", func() error { return w.act(client.Server.Poweroff(ctx, server)) })
	w.try("power on", func() error { return w.act(client.Server.Poweron(ctx, server)) })
	w.try("reboot", func() error {
		// The test has this one fail.
		w.facts["failed action"] = code(w.act(client.Server.Reboot(ctx, server)))
		return nil
	})
	w.try("rebuild", func() error {
		result, _, err := client.Server.RebuildWithResult(ctx, server, hcloud.ServerRebuildOpts{Image: image})
		if err != nil {
			return err
		}
		return w.waitFor(result.Action)
	})
	w.try("snapshot", func() error {
		result, _, err := client.Server.CreateImage(ctx, server, &hcloud.ServerCreateImageOpts{Type: hcloud.ImageTypeSnapshot})
		if err != nil {
			return err
		}
		if err := w.waitFor(result.Action); err != nil {
			return err
		}
		snapshot, _, err := client.Image.GetByID(ctx, result.Image.ID)
		if err != nil {
			return err
		}
		w.facts["snapshot"] = []any{snapshot.Type, snapshot.Status, snapshot.CreatedFrom.Name}
		from := opts("from-snapshot")
		from.Image = snapshot
		if _, err = create(from); err != nil {
			return err
		}
		_, err = client.Image.Delete(ctx, snapshot)
		return err
	})
	w.try("errors", func() error {
		sold, _, err := client.ServerType.GetByName(ctx, "cx23")
		if err != nil {
			return err
		}
		gone, _, err := client.ServerType.GetByName(ctx, "cx22")
		if err != nil {
			return err
		}
		refused := func(change func(*hcloud.ServerCreateOpts)) string {
			changed := opts("web-9")
			change(&changed)
			_, _, err := client.Server.Create(ctx, changed)
			return code(err)
		}
		stranger := hcloud.NewClient(hcloud.WithEndpoint(endpoint+"/v1"), hcloud.WithToken("stranger"))
		_, unauthorized := stranger.Server.All(ctx)
		nobody, _, err := client.Server.GetByID(ctx, 1)
		w.facts["errors"] = map[string]any{
			"name taken":    refused(func(o *hcloud.ServerCreateOpts) { o.Name = "web-1" }),
			"sold out":      refused(func(o *hcloud.ServerCreateOpts) { o.ServerType = sold }),
			"going away":    refused(func(o *hcloud.ServerCreateOpts) { o.ServerType = gone }),
			"invalid":       refused(func(o *hcloud.ServerCreateOpts) { o.Labels = map[string]string{"a b": ""} }),
			"wrong token":   code(unauthorized),
			"not there":     nobody == nil && err == nil,
			"delete locked": code(protected(w, server)),
		}
		return nil
	})
	w.try("pages", func() error {
		for n := range 27 {
			if _, _, err := client.Server.Create(ctx, opts(fmt.Sprintf("many-%d", n))); err != nil {
				return err
			}
		}
		all, err := client.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{PerPage: 10}})
		w.facts["over pages"] = len(all)
		return err
	})
	w.try("delete", func() error {
		all, err := client.Server.All(ctx)
		if err != nil {
			return err
		}
		for _, each := range all {
			if err := untilUnlocked(w, each); err != nil {
				return err
			}
			result, _, err := client.Server.DeleteWithResult(ctx, each)
			if err != nil {
				return err
			}
			if err := w.waitFor(result.Action); err != nil {
				return err
			}
		}
		if _, err := client.Network.Delete(ctx, network); err != nil {
			return err
		}
		_, err = client.SSHKey.Delete(ctx, key)
		return err
	})
	return w.facts, w.err
}

// protected asks for a deletion that must be refused.
func protected(w *walk, server *hcloud.Server) error {
	yes, no := true, false
	if err := w.act(w.client.Server.ChangeProtection(w.ctx, server, hcloud.ServerChangeProtectionOpts{Delete: &yes, Rebuild: &yes})); err != nil {
		return err
	}
	_, _, refused := w.client.Server.DeleteWithResult(w.ctx, server)
	if err := w.act(w.client.Server.ChangeProtection(w.ctx, server, hcloud.ServerChangeProtectionOpts{Delete: &no, Rebuild: &no})); err != nil {
		return err
	}
	return refused
}

func untilUnlocked(w *walk, server *hcloud.Server) error {
	for {
		now, _, err := w.client.Server.GetByID(w.ctx, server.ID)
		if err != nil || !now.Locked {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

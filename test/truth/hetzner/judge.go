package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// exchange is one request and its answer on the wire.
type exchange struct {
	Method   string          `json:"method"`
	Path     string          `json:"path"`
	Status   int             `json:"status"`
	Request  json.RawMessage `json:"request"`
	Response json.RawMessage `json:"response"`
}

// route says what hcloud-go sends and reads. A type that is nil has no body.
type route struct {
	call     *regexp.Regexp
	request  any
	response any
}

// listOf is a page of a list: hcloud-go reads its meta apart.
type listOf[T any] struct {
	schema.MetaResponse
	List T
}

var routes = []route{
	{regexp.MustCompile(`^GET /v1/pricing$`), nil, schema.PricingGetResponse{}},
	{regexp.MustCompile(`^GET /v1/server_types\?`), nil, listOf[schema.ServerTypeListResponse]{}},
	{regexp.MustCompile(`^GET /v1/locations\?`), nil, listOf[schema.LocationListResponse]{}},
	{regexp.MustCompile(`^GET /v1/images\?`), nil, listOf[schema.ImageListResponse]{}},
	{regexp.MustCompile(`^GET /v1/ssh_keys\?`), nil, listOf[schema.SSHKeyListResponse]{}},
	{regexp.MustCompile(`^POST /v1/ssh_keys$`), schema.SSHKeyCreateRequest{}, schema.SSHKeyCreateResponse{}},
	{regexp.MustCompile(`^GET /v1/actions\?`), nil, listOf[schema.ActionListResponse]{}},
	{regexp.MustCompile(`^GET /v1/servers\?`), nil, listOf[schema.ServerListResponse]{}},
	{regexp.MustCompile(`^GET /v1/servers/\d+$`), nil, schema.ServerGetResponse{}},
	{regexp.MustCompile(`^POST /v1/servers$`), schema.ServerCreateRequest{}, schema.ServerCreateResponse{}},
	{regexp.MustCompile(`^PUT /v1/servers/\d+$`), schema.ServerUpdateRequest{}, schema.ServerUpdateResponse{}},
	{regexp.MustCompile(`^DELETE /v1/servers/\d+$`), nil, schema.ServerDeleteResponse{}},
	{regexp.MustCompile(`^POST /v1/servers/\d+/actions/poweron$`), nil, schema.ServerActionPoweronResponse{}},
	{regexp.MustCompile(`^POST /v1/servers/\d+/actions/poweroff$`), nil, schema.ServerActionPoweroffResponse{}},
	{regexp.MustCompile(`^POST /v1/servers/\d+/actions/shutdown$`), nil, schema.ServerActionShutdownResponse{}},
	{regexp.MustCompile(`^POST /v1/servers/\d+/actions/reboot$`), nil, schema.ServerActionRebootResponse{}},
	{regexp.MustCompile(`^POST /v1/servers/\d+/actions/change_type$`), schema.ServerActionChangeTypeRequest{}, schema.ServerActionChangeTypeResponse{}},
}

// judge tells each difference once. Seen are the calls that were compared.
func judge(input io.Reader) (any, error) {
	var exchanges []exchange
	if err := json.NewDecoder(input).Decode(&exchanges); err != nil {
		return nil, err
	}
	problems, seen := map[string]bool{}, map[string]bool{}
	for _, each := range exchanges {
		call := each.Method + " " + each.Path
		place := slices.IndexFunc(routes, func(r route) bool { return r.call.MatchString(call) })
		if place == -1 {
			problems[call+": hcloud-go knows no such call"] = true
			continue
		}
		known := routes[place]
		name := strings.Trim(known.call.String(), "^$")
		seen[name] = true
		request, response := known.request, known.response
		if each.Status >= 400 {
			response = schema.ErrorResponse{}
		}
		for _, found := range []string{
			compare(name+" request", each.Request, request, false),
			compare(name+" answer", each.Response, response, true),
		} {
			if found != "" {
				problems[found] = true
			}
		}
	}
	return map[string]any{"problems": sorted(problems), "seen": sorted(seen)}, nil
}

func sorted(set map[string]bool) []string {
	list := []string{}
	for each := range set {
		list = append(list, each)
	}
	slices.Sort(list)
	return list
}

// compare decodes with the type of hcloud-go. whole: what the type has must be there.
func compare(name string, raw json.RawMessage, want any, whole bool) string {
	if want == nil {
		if len(raw) == 0 || string(raw) == "null" || string(raw) == "{}" {
			return ""
		}
		return fmt.Sprintf("%s: %s where hcloud-go has no body", name, raw)
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	kind := reflect.TypeOf(want)
	if kind.NumField() == 2 && kind.Field(1).Name == "List" {
		kind = reflect.StructOf([]reflect.StructField{
			{Name: "Meta", Type: reflect.TypeFor[schema.Meta](), Tag: `json:"meta"`},
			kind.Field(1).Type.Field(0),
		})
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if err := decoder.Decode(reflect.New(kind).Interface()); err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	if found := fit(value, kind, whole); found != "" {
		return name + found
	}
	return ""
}

// mayLack are fields that the API no longer sends, or will not for long: they may lack.
var mayLack = []string{"included_traffic", "datacenter", "deprecated", "vswitch_id", "gateway", "floating_ip", "traffic"}

// fit tells the first field that one of them has alone.
func fit(value any, kind reflect.Type, whole bool) string {
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	switch value := value.(type) {
	case []any:
		if kind.Kind() != reflect.Slice {
			return ""
		}
		for _, each := range value {
			if found := fit(each, kind.Elem(), whole); found != "" {
				return "[]" + found
			}
		}
	case map[string]any:
		if kind.Kind() != reflect.Struct {
			return ""
		}
		known := fieldsOf(kind)
		for key, each := range value {
			field, ok := known[key]
			if !ok {
				return fmt.Sprintf(".%s: unknown to hcloud-go (%s)", key, kind)
			}
			if found := fit(each, field, whole); found != "" {
				return "." + key + found
			}
		}
		for key := range known {
			if _, ok := value[key]; !ok && whole && !slices.Contains(mayLack, key) {
				return fmt.Sprintf(".%s: lacks (%s)", key, kind)
			}
		}
	}
	return ""
}

// fieldsOf are the fields of a type by their names on the wire, those of what it embeds included.
func fieldsOf(kind reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for n := range kind.NumField() {
		field := kind.Field(n)
		name := strings.Split(field.Tag.Get("json"), ",")[0]
		switch {
		case field.Anonymous && name == "":
			for key, each := range fieldsOf(field.Type) {
				known[key] = each
			}
		case name != "-" && name != "":
			known[name] = field.Type
		}
	}
	return known
}

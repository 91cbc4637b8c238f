// Renders a Helm chart as Helm does, with the template engine and the functions that Helm uses (text/template, sprig), for
// machines that have no Helm: go run render-chart.go CHART RELEASE < values.yaml. Values on standard input go over the chart's.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type values = map[string]interface{}

func main() {
	if err := render(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(directory, release string) error {
	chart, err := read(filepath.Join(directory, "Chart.yaml"))
	if err != nil {
		return err
	}
	given, err := read(filepath.Join(directory, "values.yaml"))
	if err != nil {
		return err
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	over := values{}
	if err := yaml.Unmarshal(input, &over); err != nil {
		return err
	}
	merge(given, over)
	// Helm gives the chart's fields with capital letters.
	meta := values{"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]}
	data := values{
		"Values":  given,
		"Chart":   meta,
		"Release": values{"Name": release, "Namespace": "default", "Service": "Helm"},
	}
	files, err := filepath.Glob(filepath.Join(directory, "templates", "*"))
	if err != nil {
		return err
	}
	all := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	functions["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("required: %s", message)
		}
		return value, nil
	}
	functions["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	all.Funcs(functions)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := all.New(filepath.Base(file)).Parse(string(text)); err != nil {
			return err
		}
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") || !strings.HasSuffix(name, ".yaml") {
			// Notes are for people; that they can be rendered is checked all the same.
			if !strings.HasPrefix(name, "_") {
				if err := all.ExecuteTemplate(io.Discard, name, data); err != nil {
					return err
				}
			}
			continue
		}
		fmt.Printf("---\n# %s\n", name)
		if err := all.ExecuteTemplate(os.Stdout, name, data); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

func read(file string) (values, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parsed := values{}
	return parsed, yaml.Unmarshal(text, &parsed)
}

func merge(into, from values) {
	for key, value := range from {
		inner, isMap := value.(map[string]interface{})
		present, wasMap := into[key].(map[string]interface{})
		if isMap && wasMap {
			merge(present, inner)
		} else {
			into[key] = value
		}
	}
}

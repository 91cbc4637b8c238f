// What the pods of the test run: "serve" tells each who asks the name of its node, "get URL" asks; otherwise it waits, as
// the program that holds a pod's namespaces does.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "-v":
		fmt.Println("pod")
	case "get":
		end(get(os.Args[2]))
	case "serve":
		http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, os.Getenv("NODE")) })
		end(http.ListenAndServe(":8080", nil))
	default:
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		<-signals
	}
}

func end(problem error) {
	if problem != nil {
		fmt.Fprintln(os.Stderr, problem)
		os.Exit(1)
	}
}

func get(url string) error {
	client := http.Client{Timeout: 10 * time.Second}
	answer, problem := client.Get(url)
	if problem != nil {
		return problem
	}
	defer answer.Body.Close()
	_, problem = io.Copy(os.Stdout, answer.Body)
	return problem
}

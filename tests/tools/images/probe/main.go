// Command probe is a workload for tests on a node. It answers for itself, and says what it can
// reach from where it stands:
//
//	GET /               its host name
//	GET /environment    its environment
//	GET /resolve?name=  the addresses of a name
//	GET /connect?to=    whether a TCP connection to host:port comes about
//	GET /fetch?url=     the status and body that a URL answers
//
// It listens on $PORT, or 8080. What fails is answered with 502 and the reason.
//
// With arguments it is no server, but answers for each of them in a line, where it was started:
//
//	probe connect host:port ...
//	probe resolve name ...
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const patience = 2 * time.Second

// A connection that is kept passes policies that came after it.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func main() {
	if len(os.Args) > 2 {
		looks := map[string]func(context.Context, string) (string, error){"connect": connect, "resolve": resolve}
		ask(looks[os.Args[1]], os.Args[2:])
		return
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	http.HandleFunc("/", answer(func(_ context.Context, _ string) (string, error) { return os.Hostname() }, ""))
	http.HandleFunc("/environment", answer(environment, ""))
	http.HandleFunc("/resolve", answer(resolve, "name"))
	http.HandleFunc("/connect", answer(connect, "to"))
	http.HandleFunc("/fetch", answer(fetch, "url"))
	fmt.Println("listening on", port)
	if err := http.ListenAndServe(":"+port, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ask looks at all of them at once, and answers in their order: "yes: " or "no: ", and what was found.
func ask(look func(context.Context, string) (string, error), targets []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answers := make([]chan string, len(targets))
	for i, target := range targets {
		answers[i] = make(chan string, 1)
		go func() {
			if found, err := look(ctx, target); err != nil {
				answers[i] <- "no: " + err.Error()
			} else {
				answers[i] <- "yes: " + found
			}
		}()
	}
	for _, answer := range answers {
		fmt.Println(<-answer)
	}
}

func answer(look func(context.Context, string) (string, error), parameter string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		found, err := look(ctx, r.URL.Query().Get(parameter))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, found)
	}
}

func environment(context.Context, string) (string, error) {
	return strings.Join(os.Environ(), "\n"), nil
}

func resolve(ctx context.Context, name string) (string, error) {
	found, err := net.DefaultResolver.LookupHost(ctx, name)
	return strings.Join(found, " "), err
}

func connect(ctx context.Context, to string) (string, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	return "connected to " + connection.RemoteAddr().String(), nil
}

func fetch(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}

// Command agent is the program of the tests' agent image: the few things that
// curl, dig and a load generator would be used for inside a pod.
//
//	agent get URL [COUNT]       fetches and prints each answer on a line
//	agent lookup NAME           prints the addresses of a name, one a line
//	agent trickle URL INTERVAL  fetches until SIGTERM, then prints "N requests, M failed"
//	agent serve PORT            answers every request with the host's name; /healthz follows /tmp/unhealthy
//	agent sleep                 waits for SIGTERM
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1) //nolint:gocritic // the signal handler needs no undoing
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to do")
	}
	rest := append(args[1:], "", "")
	switch args[0] {
	case "get":
		return get(ctx, rest[0], rest[1])
	case "lookup":
		addrs, err := net.DefaultResolver.LookupHost(ctx, rest[0])
		fmt.Println(strings.Join(addrs, "\n"))
		return err
	case "trickle":
		return trickle(ctx, rest[0], rest[1])
	case "serve":
		return serve(ctx, rest[0])
	case "sleep":
		<-ctx.Done()
		return nil
	default:
		return fmt.Errorf("%q is not known", args[0])
	}
}

// fetch opens a connection of its own for each request, as a new client would.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return strings.TrimSpace(string(body)), err
}

func get(ctx context.Context, url, count string) error {
	n := 1
	if count != "" {
		var err error
		if n, err = strconv.Atoi(count); err != nil {
			return err
		}
	}
	for range n {
		body, err := fetch(ctx, url)
		if err != nil {
			return err
		}
		fmt.Println(body)
	}
	return nil
}

func trickle(ctx context.Context, url, interval string) error {
	every, err := time.ParseDuration(interval)
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	requests, failed := 0, 0
	for {
		select {
		case <-ctx.Done():
			fmt.Printf("%d requests, %d failed\n", requests, failed)
			return nil
		case <-tick.C:
		}
		requests++
		if _, err := fetch(context.WithoutCancel(ctx), url); err != nil {
			failed++
			fmt.Println("failed:", err)
		}
	}
}

func serve(ctx context.Context, port string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, "Hello from %s\n", host) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat("/tmp/unhealthy"); err == nil {
			http.Error(w, "unhealthy", http.StatusInternalServerError)
		}
	})
	server := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// healthCheck is what a Service's healthCheckNodePort answers: load balancers ask it which nodes to send to.
type healthCheck struct {
	Port  int32 // 0: none
	Local int   // endpoints on this node that take traffic
}

// healthCheck plans the Service's health check.
func (p Planner) healthCheck(svc *corev1.Service, all []*discoveryv1.EndpointSlice) healthCheck {
	if svc == nil || Ignored(svc) || svc.Spec.HealthCheckNodePort == 0 ||
		svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return healthCheck{}
	}
	local := map[string]bool{}
	for _, slice := range all {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			ready := deref(e.Conditions.Ready, true)
			if ready && deref(e.NodeName, "") == p.Node && len(e.Addresses) > 0 {
				local[e.Addresses[0]] = true
			}
		}
	}
	return healthCheck{Port: svc.Spec.HealthCheckNodePort, Local: len(local)}
}

// healthServers runs one HTTP server for each health check. Its methods belong to one goroutine.
type healthServers struct {
	running map[owner]*healthServer
}

type healthServer struct {
	port   int32
	server *http.Server
	done   sync.WaitGroup
	local  atomic.Int64
}

func newHealthServers() *healthServers { return &healthServers{running: map[owner]*healthServer{}} }

// set starts, changes or ends the Service's server. If the port is taken it fails, to be tried again with the
// Service's next change.
func (h *healthServers) set(ctx context.Context, o owner, check healthCheck) error {
	server := h.running[o]
	if server != nil && server.port != check.Port {
		server.close()
		delete(h.running, o)
		server = nil
	}
	if check.Port == 0 {
		return nil
	}
	if server == nil {
		started, err := startHealthServer(ctx, o, check.Port)
		if err != nil {
			return err
		}
		h.running[o], server = started, started
	}
	server.local.Store(int64(check.Local))
	return nil
}

func (h *healthServers) close() {
	for _, s := range h.running {
		s.close()
	}
	clear(h.running)
}

func startHealthServer(ctx context.Context, o owner, port int32) (*healthServer, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("listening for health checks of service %s/%s: %w", o.namespace, o.name, err)
	}
	s := &healthServer{port: port}
	s.server = &http.Server{Handler: s.handler(o), ReadTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	s.done.Go(func() { _ = s.server.Serve(listener) })
	return s, nil
}

func (s *healthServer) close() {
	_ = s.server.Close()
	s.done.Wait()
}

// handler answers 200 if there are local endpoints and 503 if not, with the body that load balancers know from upstream.
func (s *healthServer) handler(o owner) http.Handler {
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		local, status := s.local.Load(), http.StatusOK
		if local == 0 {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(local, 10))
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(struct {
			Service             service `json:"service"`
			LocalEndpoints      int64   `json:"localEndpoints"`
			ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
		}{service{o.namespace, o.name}, local, true})
	})
}

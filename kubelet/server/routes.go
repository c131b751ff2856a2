package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// routes are the endpoint's paths.
func (s *Server) routes() (http.Handler, error) {
	process, err := s.processMetrics()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/healthz/", s.healthz)
	mux.HandleFunc("GET /pods", s.settled(s.pods))
	mux.HandleFunc("GET /pods/", s.settled(s.pods))
	mux.HandleFunc("GET /runningpods/", s.settled(s.runningPods))
	mux.HandleFunc("GET /configz", s.configz)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.settled(s.containerLogs))
	for _, with := range []string{"{namespace}/{pod}/{container}", "{namespace}/{pod}/{uid}/{container}"} {
		mux.HandleFunc("GET /exec/"+with, s.settled(s.exec))
		mux.HandleFunc("POST /exec/"+with, s.settled(s.exec))
		mux.HandleFunc("GET /attach/"+with, s.settled(s.attach))
		mux.HandleFunc("POST /attach/"+with, s.settled(s.attach))
		mux.HandleFunc("POST /run/"+with, s.settled(s.run))
	}
	for _, with := range []string{"{namespace}/{pod}", "{namespace}/{pod}/{uid}"} {
		mux.HandleFunc("GET /portForward/"+with, s.settled(s.portForward))
		mux.HandleFunc("POST /portForward/"+with, s.settled(s.portForward))
	}
	mux.Handle("GET /metrics", process)
	mux.HandleFunc("GET /metrics/resource", s.resourceMetrics)
	mux.HandleFunc("GET /metrics/cadvisor", s.containerMetrics)
	mux.Handle("GET /metrics/probes", gatherer(s.deps.Probes))
	mux.HandleFunc("/logs/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "logs endpoint is disabled.", http.StatusMethodNotAllowed)
	})
	return mux, nil
}

// settled makes a request wait until the node's pods are known, so that a starting node never denies a pod that runs.
func (s *Server) settled(next http.HandlerFunc) http.HandlerFunc {
	if s.deps.Settled == nil {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		timeout := time.NewTimer(settleTimeout)
		defer timeout.Stop()
		select {
		case <-s.deps.Settled:
			next(w, r)
		case <-r.Context().Done():
		case <-timeout.C:
			refuse(w, http.StatusServiceUnavailable, "the node is starting and does not know its pods yet: try again")
		}
	}
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if s.deps.Healthy != nil {
		if err := s.deps.Healthy(); err != nil {
			http.Error(w, "healthz check failed: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	answer(w, r, "text/plain; charset=utf-8", []byte("ok"))
}

func (s *Server) pods(w http.ResponseWriter, r *http.Request) {
	s.podList(w, r, func(*corev1.Pod) bool { return true })
}

func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	s.podList(w, r, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
}

func (s *Server) podList(w http.ResponseWriter, r *http.Request, wanted func(*corev1.Pod) bool) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
	for _, pod := range s.deps.Pods.Pods() {
		if wanted(pod) {
			list.Items = append(list.Items, *pod)
		}
	}
	s.json(w, r, list)
}

func (s *Server) configz(w http.ResponseWriter, r *http.Request) {
	s.json(w, r, map[string]any{"kubeletconfig": s.config.Configz})
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	found, err := s.deps.Stats.Summary(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r.URL.Query().Get("only_cpu_and_memory") == "true" {
		found = onlyCPUAndMemory(found)
	}
	s.json(w, r, found)
}

func (s *Server) json(w http.ResponseWriter, r *http.Request, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		s.fail(w, r, fmt.Errorf("encoding an answer: %w", err))
		return
	}
	answer(w, r, "application/json", body)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	klog.FromContext(r.Context()).Error(err, "Answering a request to the node failed", "path", r.URL.Path)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// answer writes a whole body. That a client has gone is its own affair.
func answer(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	if _, err := w.Write(body); err != nil {
		klog.FromContext(r.Context()).V(4).Info("A client left before its answer", "path", r.URL.Path, "reason", err.Error())
	}
}

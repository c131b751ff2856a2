package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/logs"
)

// containerLogs answers a container's log.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	target := targetOf(r)
	pod, ok := s.deps.Pods.Pod(target.Namespace, target.Pod)
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("pod %q does not exist", target.Namespace+"/"+target.Pod))
		return
	}
	if !hasContainer(pod, target.Container) {
		refuse(w, http.StatusNotFound, fmt.Sprintf("container %q not found in pod %q", target.Container, target.Namespace+"/"+target.Pod))
		return
	}
	options, err := logOptions(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	previous := flag(r.URL.Query(), "previous")
	if err := loggable(pod, target.Container, previous); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	path, running, err := s.deps.Logs.ContainerLog(r.Context(), target, previous)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &response{ResponseWriter: w, controller: http.NewResponseController(w)}
	if err := logs.Read(r.Context(), logs.Source{Path: path, Running: running}, options, out); err != nil {
		if out.begun {
			panic(http.ErrAbortHandler) // the only way to tell a client that its answer is not whole
		}
		refuse(w, http.StatusInternalServerError, err.Error())
	}
}

// response lets a follower flush what it wrote.
type response struct {
	http.ResponseWriter
	controller *http.ResponseController
	begun      bool
}

// Write sends a part of the answer.
func (r *response) Write(part []byte) (int, error) {
	r.begun = true
	return r.ResponseWriter.Write(part)
}

// Flush sends what was written, and the header even if nothing was.
func (r *response) Flush() error {
	r.begun = true
	return r.controller.Flush()
}

// refuse answers an error as its bare text: the API server makes it a status's message.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// logOptions reads the query of a log request.
func logOptions(query url.Values) (logs.Options, error) {
	options := logs.Options{Follow: flag(query, "follow"), Timestamps: flag(query, "timestamps")}
	var err error
	if options.Tail, err = number(query, "tailLines", 0); err != nil {
		return options, err
	}
	if options.LimitBytes, err = number(query, "limitBytes", 1); err != nil {
		return options, err
	}
	seconds, err := number(query, "sinceSeconds", 1)
	if err != nil {
		return options, err
	}
	if seconds != nil {
		options.Since = time.Now().Add(-time.Duration(*seconds) * time.Second)
	}
	if text := query.Get("sinceTime"); text != "" {
		if options.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return options, fmt.Errorf("sinceTime: %w", err)
		}
	}
	switch query.Get("stream") {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout:
		options.Stream = logs.Stdout
	case corev1.LogStreamStderr:
		options.Stream = logs.Stderr
	default:
		return options, fmt.Errorf("stream: Unsupported value: %q", query.Get("stream"))
	}
	if options.Stream != "" && options.Tail != nil {
		return options, fmt.Errorf("tailLines: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now")
	}
	return options, nil
}

func flag(query url.Values, name string) bool {
	set, err := strconv.ParseBool(query.Get(name))
	return err == nil && set
}

// number reads an optional number that is at least least.
func number(query url.Values, name string, least int64) (*int64, error) {
	text := query.Get(name)
	if text == "" {
		return nil, nil //nolint:nilnil // an absent option is neither a value nor an error
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < least {
		return nil, fmt.Errorf("%s: Invalid value: %q: must be a number of at least %d", name, text, least)
	}
	return &value, nil
}

package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/klog/v2"
)

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	target, ok := s.streamTarget(w, r)
	if !ok {
		return
	}
	options, err := streamOptions(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	location, err := s.deps.Streams.Exec(r.Context(), target, r.URL.Query()[corev1.ExecCommandParam], options)
	s.stream(w, r, location, err)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	target, ok := s.streamTarget(w, r)
	if !ok {
		return
	}
	options, err := streamOptions(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	location, err := s.deps.Streams.Attach(r.Context(), target, options)
	s.stream(w, r, location, err)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	target, ok := s.streamTarget(w, r)
	if !ok {
		return
	}
	ports, err := forwardedPorts(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	location, err := s.deps.Streams.PortForward(r.Context(), target.Namespace, target.Pod, ports)
	s.stream(w, r, location, err)
}

// run runs a command to its end and answers its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	target, ok := s.streamTarget(w, r)
	if !ok {
		return
	}
	runner, ok := s.deps.Streams.(Runner)
	if !ok {
		refuse(w, http.StatusMethodNotAllowed, "running commands without a stream is disabled")
		return
	}
	output, err := runner.RunInContainer(r.Context(), target, strings.Fields(r.URL.Query().Get("cmd")))
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	answer(w, r, "text/plain; charset=utf-8", output)
}

// streamTarget answers what a request names, having told the client if it is not on this node.
func (s *Server) streamTarget(w http.ResponseWriter, r *http.Request) (StreamTarget, bool) {
	target := targetOf(r)
	pod, ok := s.deps.Pods.Pod(target.Namespace, target.Pod)
	if uid := r.PathValue("uid"); !ok || uid != "" && uid != string(pod.UID) {
		refuse(w, http.StatusNotFound, "pod does not exist")
		return target, false
	}
	if target.Container != "" && !hasContainer(pod, target.Container) {
		refuse(w, http.StatusNotFound, fmt.Sprintf("container not found (%q)", target.Container))
		return target, false
	}
	return target, true
}

// streamOptions reads which streams a client wants. A terminal has one output.
func streamOptions(query url.Values) (StreamOptions, error) {
	options := StreamOptions{
		Stdin:  flag(query, corev1.ExecStdinParam),
		Stdout: flag(query, corev1.ExecStdoutParam),
		Stderr: flag(query, corev1.ExecStderrParam),
		TTY:    flag(query, corev1.ExecTTYParam),
	}
	if options.TTY {
		options.Stderr = false
	}
	if !options.Stdin && !options.Stdout && !options.Stderr {
		return options, fmt.Errorf("you must specify at least 1 of stdin, stdout, stderr")
	}
	return options, nil
}

// forwardedPorts reads the ports a client names in the query. One that opens streams for its ports names none there.
func forwardedPorts(query url.Values) ([]int32, error) {
	var ports []int32
	for _, list := range query["port"] {
		for text := range strings.SplitSeq(list, ",") {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil || port == 0 {
				return nil, fmt.Errorf("port %q is invalid", text)
			}
			ports = append(ports, int32(port))
		}
	}
	return ports, nil
}

// stream passes the connection on to the runtime's streaming server, whichever protocol it is upgraded to.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, location *url.URL, err error) {
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	// Who may stream was decided here; the runtime is not to see anybody's token.
	r.Header.Del("Authorization")
	handler := proxy.NewUpgradeAwareHandler(location, nil, false, true, responder{})
	handler.ServeHTTP(w, r)
}

// responder tells a client that the runtime could not be reached.
type responder struct{}

// Error answers a failed proxying.
func (responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	klog.FromContext(r.Context()).Error(err, "Passing a stream to the runtime failed", "path", r.URL.Path)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

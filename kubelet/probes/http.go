package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxBody is how much of an answer is read.
const maxBody = 10 << 10

// maxRedirects is how many redirects within one host are followed.
const maxRedirects = 10

// errOtherHost ends the following of redirects that lead away from the pod.
var errOtherHost = errors.New("redirect to another host")

// Request is a GET that a probe or a lifecycle hook makes of a container.
type Request struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	PodIPs    []string
	Action    *corev1.HTTPGetAction
	UserAgent string
}

// Get makes the request and ignores what the answer's status is, as hooks do.
func Get(ctx context.Context, r Request) error {
	_, _, err := r.do(ctx)
	return err
}

func httpProbe(ctx context.Context, r Request) result {
	code, _, err := r.do(ctx)
	switch {
	case errors.Is(err, errNoPort):
		return result{err: err}
	case err != nil:
		return result{output: err.Error()}
	case code >= 200 && code < 400:
		return result{ok: true}
	}
	return result{output: fmt.Sprintf("HTTP probe failed with statuscode: %d", code)}
}

// do makes the request. A redirect to another host counts as the answer, since following it would probe something else.
func (r Request) do(ctx context.Context) (code int, body []byte, err error) {
	request, err := r.request(ctx)
	if err != nil {
		return 0, nil, err
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the pod's own certificate: a probe asks whether it serves, not who it is
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != via[0].URL.Hostname() {
			return errOtherHost
		}
		if len(via) >= maxRedirects {
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}}
	answer, err := client.Do(request)
	if answer != nil && errors.Is(err, errOtherHost) {
		return answer.StatusCode, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxBody))
	return answer.StatusCode, body, err
}

func (r Request) request(ctx context.Context) (*http.Request, error) {
	number, err := port(r.Action.Port, r.Container)
	if err != nil {
		return nil, err
	}
	host := r.Action.Host
	if host == "" {
		host = first(r.PodIPs)
	}
	target, err := url.Parse(r.Action.Path)
	if err != nil {
		target = &url.URL{Path: r.Action.Path}
	}
	target.Scheme, target.Host = "http", net.JoinHostPort(host, strconv.Itoa(number))
	if r.Action.Scheme != "" {
		target.Scheme = strings.ToLower(string(r.Action.Scheme))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", r.UserAgent)
	request.Header.Set("Accept", "*/*")
	for _, h := range r.Action.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
			continue
		}
		if values := request.Header.Values(h.Name); len(values) > 0 && (strings.EqualFold(h.Name, "User-Agent") || strings.EqualFold(h.Name, "Accept")) {
			request.Header.Set(h.Name, h.Value)
			continue
		}
		request.Header.Add(h.Name, h.Value)
	}
	return request, nil
}

// errNoPort says that a probe names a port that its container doesn't have.
var errNoPort = errors.New("couldn't find port")

// port resolves a port number or a container's named port.
func port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	if p.Type == intstr.Int {
		return p.IntValue(), nil
	}
	for _, known := range c.Ports {
		if known.Name == p.StrVal {
			return int(known.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("%w: %s", errNoPort, p.StrVal)
}

func first(ips []string) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0]
}

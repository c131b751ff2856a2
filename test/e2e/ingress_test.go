package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"skiff/test/cluster"
)

// shop is a web server behind an Ingress that names no class.
const shop = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  tls: [{hosts: [shop.test], secretName: shop}]
  rules:
  - host: shop.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: "` + cluster.OpenRegistry + `/agent:v1"
        command: [agent, serve, "8080"]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`

// TestIngress: pods behind an Ingress are reached from outside by its host, and still while ten thousand connections lie
// idle or send slowly. The ports are others' before there is an Ingress and after it.
func TestIngress(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	node := net.JoinHostPort(cluster.NodeIP, "80")
	if conn, err := c.NS.Dial(t.Context(), "tcp", node); err == nil {
		_ = conn.Close()
		t.Error("port 80 is taken without an Ingress")
	}
	c.Apply(t, shop)
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=60s")
	client := c.HTTP()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true}
	ask := func(url, host string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			return 0, "", err
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	seen := map[string]bool{}
	cluster.WaitFor(t, "both pods to answer", time.Minute, func() error {
		status, body, err := ask("http://"+cluster.NodeIP, "shop.test")
		if seen[body] = true; status != http.StatusOK || !strings.HasPrefix(body, "Hello from web-") || len(seen) < 2 {
			return fmt.Errorf("%d %q %v (%w)", status, body, seen, err)
		}
		return nil
	})
	if status, body, err := ask("https://"+cluster.NodeIP, "shop.test"); status != http.StatusOK {
		t.Errorf("over TLS: %d %q (%v)", status, body, err)
	}
	if status, _, err := ask("http://"+cluster.NodeIP, "other.test"); status != http.StatusNotFound {
		t.Errorf("another host: %d (%v)", status, err)
	}
	if got := c.Kubectl(t, "get", "ingress", "shop", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(got), " "), "shop skiff shop.test "+cluster.NodeIP+" 80, 443") {
		t.Errorf("kubectl shows %q", got)
	}
	if got := c.Kubectl(t, "events", "--for=ingress/shop"); !strings.Contains(got, "SecretNotFound") {
		t.Errorf("its events are %q", got)
	}
	for i := range 10_000 {
		conn, err := c.NS.Dial(t.Context(), "tcp", node)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer func() { _ = conn.Close() }()
		switch {
		case i%10 == 0:
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 9\r\n\r\nx")
		case i%2 == 0:
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHo")
		}
	}
	if status, body, err := ask("http://"+cluster.NodeIP, "shop.test"); status != http.StatusOK {
		t.Errorf("beside ten thousand connections: %d %q (%v)", status, body, err)
	}
	c.Kubectl(t, "get", "--raw", "/readyz")
	c.Kubectl(t, "delete", "ingress", "shop")
	cluster.WaitFor(t, "port 80 to be free", 30*time.Second, func() error {
		conn, err := c.NS.Dial(t.Context(), "tcp", node)
		if err != nil {
			return nil //nolint:nilerr // that's what is waited for
		}
		_ = conn.Close()
		return fmt.Errorf("%s accepts connections", node)
	})
}

// TestLoadBalancer: a Service of type LoadBalancer is reached at the node's address, from outside and from pods, and the
// second one that wants its port is told.
func TestLoadBalancer(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	c.Apply(t, shop)
	c.Kubectl(t, "delete", "ingress", "shop")
	for _, name := range []string{"first", "second"} {
		c.Kubectl(t, "expose", "deployment", "web", "--name="+name, "--type=LoadBalancer", "--port=8000", "--target-port=8080")
		if name == "first" {
			c.Kubectl(t, "wait", "service/first", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}="+cluster.NodeIP, "--timeout=30s")
		}
	}
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=60s")
	cluster.WaitFor(t, "an answer at the node's address", 30*time.Second, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cluster.NodeIP+":8000", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := c.HTTP().Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if body, err := io.ReadAll(resp.Body); !strings.HasPrefix(string(body), "Hello from web-") {
			return fmt.Errorf("%q (%w)", body, err)
		}
		return nil
	})
	c.Kubectl(t, "run", "client", "--image="+cluster.OpenRegistry+"/agent:v1", "--restart=Never", "--command", "--", "agent", "get", "http://"+cluster.NodeIP+":8000")
	c.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/client", "--timeout=60s")
	cluster.WaitFor(t, "the second Service's event", 30*time.Second, func() error {
		if got := c.Kubectl(t, "events", "--for=service/second"); !strings.Contains(got, "belongs to the older Service default/first") {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if got := c.Kubectl(t, "get", "service", "second", "--no-headers"); !strings.Contains(got, "<pending>") {
		t.Errorf("the second one: %s", got)
	}
}

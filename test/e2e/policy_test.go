package e2e

import (
	"strings"
	"testing"

	"skiff/test/cluster"
)

// closed is a web server in a namespace in which nothing may talk but clients to its named port.
const closed = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: "` + cluster.OpenRegistry + `/agent:v1"
    command: [agent, serve, "8080"]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
`

// TestNetworkPolicies: probes reach a pod that nobody may talk to, a client's very first packet gets through, and a
// stranger's doesn't until the policies are gone.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	c.Apply(t, closed)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	asks := func(name, app, phase string) {
		t.Helper()
		c.Kubectl(t, "run", name, "--image="+cluster.OpenRegistry+"/agent:v1", "--labels=app="+app, "--restart=Never", "--command", "--", "agent", "get", "http://web")
		c.Kubectl(t, "wait", "--for=jsonpath={.status.phase}="+phase, "pod/"+name, "--timeout=60s")
		if out := strings.TrimSpace(c.Kubectl(t, "logs", name)); (out == "Hello from web") != (phase == "Succeeded") {
			t.Errorf("%s, which is to have %s, says %q", name, phase, out)
		}
	}
	asks("first", "client", "Succeeded")
	asks("stranger", "other", "Failed")
	c.Kubectl(t, "delete", "networkpolicy", "--all")
	asks("welcome", "other", "Succeeded")
}

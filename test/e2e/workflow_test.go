package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"skiff/test/cluster"
)

// TestWorkflow deploys an application the way a CI job does and lives with it.
func TestWorkflow(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	c.Apply(t, pythonApp("v1"))
	c.Kubectl(t, "rollout", "status", "deployment/python-app", "--timeout=90s")
	c.Apply(t, agentPod)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/agent", "--timeout=60s")

	steps := []struct {
		name string
		run  func(*testing.T, *cluster.Cluster)
	}{
		{"three pods answer by every name", testReach},
		{"rollout without a failed request", testRollout},
		{"kubectl looks as it does upstream", testKubectl},
		{"logs exec cp port-forward", testStreams},
		{"pods heal", testHeal},
		{"probes", testProbes},
		{"a pod that fits nowhere stays Pending", testPending},
		{"configuration reaches the container", testConfiguration},
		{"images with credentials", testPullSecret},
		{"custom resources", testCustomResource},
		{"an informer sees every change", testInformer},
		{"an operator with leader election", testOperator},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) { s.run(t, c) })
	}
}

func pythonApp(version string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: python-app, labels: {app: python-app}}
spec:
  replicas: 3
  selector: {matchLabels: {app: python-app}}
  template:
    metadata: {labels: {app: python-app}}
    spec:
      containers:
      - name: python-app
        image: %s/python-app:%s
        ports: [{containerPort: 5000}]
        readinessProbe: {httpGet: {path: /, port: 5000}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 1}}}
---
apiVersion: v1
kind: Service
metadata: {name: python-app-service}
spec:
  type: NodePort
  selector: {app: python-app}
  ports: [{port: 80, targetPort: 5000, nodePort: 30080}]
`, cluster.OpenRegistry, version)
}

const agentPod = `
apiVersion: v1
kind: Pod
metadata: {name: agent}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - {name: agent, image: "` + cluster.OpenRegistry + `/agent:v1"}
`

// hosts counts the distinct greetings in answers of the application.
func hosts(answers string) map[string]int {
	out := map[string]int{}
	for line := range strings.Lines(answers) {
		if host, ok := strings.CutPrefix(strings.TrimSpace(line), "Hello from "); ok {
			out[host]++
		}
	}
	return out
}

func testReach(t *testing.T, c *cluster.Cluster) {
	pods := strings.Fields(c.Kubectl(t, "get", "pods", "-l", "app=python-app", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(pods) != 3 {
		t.Fatalf("pods %v, want three", pods)
	}
	addresses := strings.Fields(c.Kubectl(t, "get", "pods", "-l", "app=python-app", "-o", "jsonpath={.items[*].status.podIP}"))
	if len(addresses) != 3 {
		t.Errorf("addresses %v, want three", addresses)
	}
	clusterIP := c.Kubectl(t, "get", "service", "python-app-service", "-o", "jsonpath={.spec.clusterIP}")
	for _, url := range []string{
		"http://" + clusterIP, "http://" + cluster.NodeIP + ":30080",
		"http://python-app-service.default.svc.cluster.local", "http://python-app-service",
	} {
		got := hosts(c.Kubectl(t, "exec", "agent", "--", "agent", "get", url, "60"))
		for _, pod := range pods {
			if got[pod] == 0 {
				t.Errorf("%s: none of 60 requests reached %s: %v", url, pod, got)
			}
		}
	}
	fromHost := map[string]int{}
	client := c.HTTP()
	for range 60 {
		for _, address := range []string{clusterIP + ":80", cluster.NodeIP + ":30080"} {
			body, err := get(t.Context(), client, "http://"+address)
			if err != nil {
				t.Fatal(err)
			}
			for host := range hosts(body) {
				fromHost[host]++
			}
		}
	}
	if len(fromHost) != 3 {
		t.Errorf("from the host: %v, want three pods", fromHost)
	}
	if got := strings.TrimSpace(c.Kubectl(t, "exec", "agent", "--", "agent", "lookup", "python-app-service.default.svc.cluster.local")); got != clusterIP {
		t.Errorf("DNS answers %q, want %q", got, clusterIP)
	}
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
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
	return string(body), err
}

func testRollout(t *testing.T, c *cluster.Cluster) {
	trickle := c.Command("kubectl", "exec", "agent", "--", "sh", "-c",
		"agent trickle http://python-app-service 20ms > /tmp/trickle & echo $! > /tmp/pid; wait")
	if err := trickle.Start(); err != nil {
		t.Fatal(err)
	}
	cluster.WaitFor(t, "the trickle to start", 10*time.Second, func() error {
		_, err := c.Try("exec", "agent", "--", "cat", "/tmp/pid")
		return err
	})
	c.Kubectl(t, "set", "image", "deployment/python-app", "python-app="+cluster.OpenRegistry+"/python-app:v2")
	if out := c.Kubectl(t, "rollout", "status", "deployment/python-app", "--timeout=90s"); !strings.Contains(out, `deployment "python-app" successfully rolled out`) {
		t.Errorf("rollout status says %q", out)
	}
	time.Sleep(2 * time.Second) // requests go on while the last old pod ends
	c.Kubectl(t, "exec", "agent", "--", "sh", "-c", "kill -TERM $(cat /tmp/pid)")
	_ = trickle.Wait()
	out := c.Kubectl(t, "exec", "agent", "--", "cat", "/tmp/trickle")
	if m := regexp.MustCompile(`(\d+) requests, 0 failed`).FindStringSubmatch(out); m == nil || len(m[1]) < 2 {
		t.Errorf("during the rollout: %s", out)
	}
	if version := c.Kubectl(t, "get", "pods", "-l", "app=python-app", "-o", "jsonpath={.items[*].spec.containers[0].image}"); strings.Contains(version, ":v1") {
		t.Errorf("images after the rollout: %s", version)
	}
	history := c.Kubectl(t, "rollout", "history", "deployment/python-app")
	if !regexp.MustCompile(`(?m)^1\s+<none>\n2\s+<none>$`).MatchString(history) {
		t.Errorf("rollout history:\n%s", history)
	}
	if out := c.Kubectl(t, "rollout", "undo", "deployment/python-app"); !strings.Contains(out, "deployment.apps/python-app rolled back") {
		t.Errorf("undo says %q", out)
	}
	c.Kubectl(t, "rollout", "status", "deployment/python-app", "--timeout=90s")
	if image := c.Kubectl(t, "get", "deployment", "python-app", "-o", "jsonpath={.spec.template.spec.containers[0].image}"); !strings.HasSuffix(image, ":v1") {
		t.Errorf("image after undo: %s", image)
	}
	c.Kubectl(t, "scale", "deployment/python-app", "--replicas=1")
	c.Kubectl(t, "wait", "--for=jsonpath={.status.replicas}=1", "deployment/python-app", "--timeout=60s")
	c.Kubectl(t, "scale", "deployment/python-app", "--replicas=3")
	c.Kubectl(t, "wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/python-app", "--timeout=60s")
}

func testKubectl(t *testing.T, c *cluster.Cluster) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"get", "nodes", "-o", "wide"}, `(?s)NAME\s+STATUS\s+ROLES\s+AGE\s+VERSION\s+INTERNAL-IP.*node-1\s+Ready\s+\S+\s+\S+\s+v1\.37\.2\+skiff\S*\s+192\.0\.2\.10.*containerd://`},
		{[]string{"get", "pods", "-o", "wide"}, `(?s)NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\s+IP\s+NODE\s+NOMINATED NODE\s+READINESS GATES.*agent\s+1/1\s+Running\s+0\s+\S+\s+10\.244\.\d+\.\d+\s+node-1\s+<none>\s+<none>`},
		{[]string{"get", "deployment,replicaset,service"}, `(?s)deployment\.apps/python-app\s+3/3\s+3\s+3.*replicaset\.apps/python-app-.*service/python-app-service\s+NodePort\s+10\.96\.\d+\.\d+\s+<none>\s+80:30080/TCP`},
		{[]string{"describe", "deployment", "python-app"}, `(?s)Replicas:\s+3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable.*StrategyType:\s+RollingUpdate.*Available\s+True\s+MinimumReplicasAvailable.*ScalingReplicaSet`},
		{[]string{"describe", "pod", "agent"}, `(?s)Status:\s+Running.*Successfully assigned default/agent to node-1.*Pulling image.*Successfully pulled image.*Created.*Started`},
		{[]string{"describe", "node", "node-1"}, `(?s)MemoryPressure\s+False.*KubeletHasSufficientMemory.*Ready\s+True.*KubeletReady.*Non-terminated Pods:.*Allocated resources:`},
		{[]string{"describe", "service", "python-app-service"}, `(?s)Endpoints:\s+10\.244\.\d+\.\d+:5000`},
		{[]string{"get", "endpointslices", "-l", "kubernetes.io/service-name=python-app-service"}, `IPv4\s+5000\s+10\.244\.`},
		{[]string{"get", "events"}, `Scheduled|SuccessfulCreate`},
		{[]string{"cluster-info"}, `Kubernetes control plane.* is running at https://`},
		{[]string{"version"}, `Server Version: v1\.37\.2\+skiff`},
		{[]string{"auth", "can-i", "create", "deployments"}, `^yes`},
		{[]string{"auth", "whoami"}, `kubernetes-admin|system:masters`},
		{[]string{"api-resources"}, `deployments\s+deploy\s+apps/v1\s+true\s+Deployment`},
		{[]string{"explain", "pod.spec.containers.image"}, `FIELD: image <string>`},
	}
	for _, tc := range tests {
		out := c.Kubectl(t, tc.args...)
		if !regexp.MustCompile(tc.want).MatchString(out) {
			t.Errorf("kubectl %s does not match %s:\n%s", strings.Join(tc.args, " "), tc.want, out)
		}
	}
	diff := c.Command("kubectl", "diff", "-f", "-")
	diff.Stdin = strings.NewReader(strings.Replace(pythonApp("v1"), "replicas: 3", "replicas: 2", 1))
	out, err := diff.Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "-  replicas: 3") {
		t.Errorf("diff: %v\n%s", err, out)
	}
	if out := c.Apply(t, pythonApp("v1"), "--server-side", "--force-conflicts"); !strings.Contains(out, "deployment.apps/python-app serverside-applied") {
		t.Errorf("apply --server-side says %q", out)
	}
	if out, err := c.Try("top", "node"); err != nil && !strings.Contains(err.Error(), "Metrics") && !strings.Contains(err.Error(), "metrics") {
		t.Errorf("top: %v %s", err, out)
	}
}

func testStreams(t *testing.T, c *cluster.Cluster) {
	pod := c.Kubectl(t, "get", "pods", "-l", "app=python-app", "-o", "jsonpath={.items[0].metadata.name}")
	logs := c.Command("kubectl", "logs", "-f", pod)
	var text lockedBuffer
	logs.Stdout = &text
	if err := logs.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Process.Kill(); _ = logs.Wait() }()
	forward := c.Command("kubectl", "port-forward", "pod/"+pod, "18080:5000")
	var said lockedBuffer
	forward.Stdout, forward.Stderr = &said, &said
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = forward.Process.Signal(syscall.SIGTERM); _ = forward.Wait() }()
	cluster.WaitFor(t, "port-forward", 15*time.Second, func() error {
		body, err := get(t.Context(), c.HTTP(), "http://127.0.0.1:18080")
		if err == nil && !strings.Contains(body, "Hello from "+pod) {
			err = fmt.Errorf("answered %q", body)
		}
		if err != nil {
			err = fmt.Errorf("%w; it said %s", err, said.String())
		}
		return err
	})
	cluster.WaitFor(t, "the request in the followed log", 10*time.Second, func() error {
		if s := text.String(); !strings.Contains(s, "serving version v1") || !strings.Contains(s, "request from") {
			return fmt.Errorf("log is %q", s)
		}
		return nil
	})
	// A terminal, as `exec -it` has one: script gives kubectl a pseudo-terminal.
	tty := c.NS.Command(t.Context(), "script", "-qec", cluster.Binary(t, "build/clients/kubectl")+" exec -it agent -- sh -c 'test -t 0 && echo a terminal of $(hostname)'", "/dev/null")
	tty.Env = append(tty.Environ(), "KUBECONFIG="+c.Kubeconfig, "TERM=xterm")
	if out, err := tty.CombinedOutput(); err != nil || !strings.Contains(string(out), "a terminal of agent") {
		t.Errorf("exec -it: %v\n%s", err, out)
	}
	c.Kubectl(t, "run", "echo", "--image="+cluster.OpenRegistry+"/agent:v1", "--stdin", "--attach=false", "--restart=Never", "--command", "--", "sh", "-c", "read line; echo heard $line")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/echo", "--timeout=60s")
	attach := c.Command("kubectl", "attach", "-i", "echo")
	attach.Stdin = strings.NewReader("hello\n")
	if out, err := cluster.Output(attach); err != nil || !strings.Contains(out, "heard hello") {
		t.Errorf("attach: %v\n%s", err, out)
	}
	c.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/echo", "--timeout=30s")
	c.Kubectl(t, "delete", "pod", "echo")
	if _, err := c.Try("exec", "agent", "--", "sh", "-c", "exit 7"); err == nil || !strings.Contains(err.Error(), "exit code 7") {
		t.Errorf("exec of a failing command: %v", err)
	}
	c.Kubectl(t, "cp", c.Kubeconfig, "agent:/tmp/copied")
	if out := c.Kubectl(t, "exec", "agent", "--", "cat", "/tmp/copied"); !strings.Contains(out, "apiVersion: v1") {
		t.Errorf("copied file holds %q", out)
	}
	c.Kubectl(t, "cp", "agent:/tmp/copied", c.Dir+"/back")
}

func testHeal(t *testing.T, c *cluster.Cluster) {
	names := func() []string {
		return strings.Fields(c.Kubectl(t, "get", "pods", "-l", "app=python-app", "-o", "jsonpath={.items[*].metadata.name}"))
	}
	victim := names()[0]
	c.Kubectl(t, "delete", "pod", victim)
	cluster.WaitFor(t, "a replacement", 30*time.Second, func() error {
		if out := c.Kubectl(t, "get", "deployment", "python-app", "-o", "jsonpath={.status.readyReplicas}"); out != "3" {
			return fmt.Errorf("%s ready", out)
		}
		for _, name := range names() {
			if name == victim {
				return fmt.Errorf("%s is still there", victim)
			}
		}
		return nil
	})
	target := names()[0]
	_, _ = c.Try("exec", target, "--", "sh", "-c", "kill -TERM 1")
	cluster.WaitFor(t, "the container to restart", 30*time.Second, func() error {
		out := c.Kubectl(t, "get", "pod", target, "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
		if out != "1 true" {
			return fmt.Errorf("restarts and readiness are %s", out)
		}
		return nil
	})
}

func testProbes(t *testing.T, c *cluster.Cluster) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: probed, labels: {app: probed}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: `+cluster.OpenRegistry+`/agent:v1
    command: [agent, serve, "8080"]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {exec: {command: [sh, -c, "test ! -e /tmp/dead"]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: probed}
spec:
  selector: {app: probed}
  ports: [{port: 8080}]
`)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/probed", "--timeout=60s")
	ready := func(want string) func() error {
		return func() error {
			out := c.Kubectl(t, "get", "endpointslices", "-l", "kubernetes.io/service-name=probed", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
			if out != want {
				return fmt.Errorf("endpoints' readiness is %q", out)
			}
			return nil
		}
	}
	cluster.WaitFor(t, "the endpoint", 20*time.Second, ready("true"))
	c.Kubectl(t, "exec", "probed", "--", "touch", "/tmp/unhealthy")
	cluster.WaitFor(t, "the pod to leave the endpoints", 20*time.Second, ready("false"))
	c.Kubectl(t, "exec", "probed", "--", "rm", "/tmp/unhealthy")
	cluster.WaitFor(t, "the pod to come back", 20*time.Second, ready("true"))
	c.Kubectl(t, "exec", "probed", "--", "touch", "/tmp/dead")
	cluster.WaitFor(t, "the liveness probe to restart it", 30*time.Second, func() error {
		if out := c.Kubectl(t, "get", "pod", "probed", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); out == "0" {
			return errors.New("not restarted")
		}
		return nil
	})
	if out := c.Kubectl(t, "describe", "pod", "probed"); !regexp.MustCompile(`(?s)Readiness probe failed: HTTP probe failed with statuscode: 500.*Liveness probe failed`).MatchString(out) {
		t.Errorf("events of the probes are missing:\n%s", out)
	}
	c.Kubectl(t, "delete", "pod,service", "probed")
}

func testPending(t *testing.T, c *cluster.Cluster) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: huge}
spec:
  containers:
  - {name: c, image: "`+cluster.OpenRegistry+`/agent:v1", resources: {requests: {cpu: "1000"}}}
`)
	cluster.WaitFor(t, "FailedScheduling", 20*time.Second, func() error {
		out := c.Kubectl(t, "describe", "pod", "huge")
		if !strings.Contains(out, "0/1 nodes are available: 1 Insufficient cpu.") || !strings.Contains(out, "FailedScheduling") {
			return errors.New(out)
		}
		return nil
	})
	if out := c.Kubectl(t, "get", "pod", "huge"); !regexp.MustCompile(`huge\s+0/1\s+Pending`).MatchString(out) {
		t.Errorf("get pod:\n%s", out)
	}
	c.Kubectl(t, "delete", "pod", "huge")
}

func testConfiguration(t *testing.T, c *cluster.Cluster) {
	c.Kubectl(t, "create", "configmap", "settings", "--from-literal=color=blue")
	c.Kubectl(t, "create", "secret", "generic", "token", "--from-literal=key=abc")
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: configured}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: `+cluster.OpenRegistry+`/agent:v1
    env:
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: token, key: key}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: JOINED, value: "$(POD)-$(COLOR)"}
    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: token, mountPath: /etc/token}
    - {name: work, mountPath: /work}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: token, secret: {secretName: token}}
  - {name: work, emptyDir: {}}
`)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/configured", "--timeout=60s")
	out := c.Kubectl(t, "exec", "configured", "--", "sh", "-c", "echo $COLOR $KEY $JOINED $(cat /etc/settings/color) $(cat /etc/token/key); touch /work/x; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if out != "blue abc configured-blue blue abc\ndefault" {
		t.Errorf("the container sees %q", out)
	}
	c.Kubectl(t, "patch", "configmap", "settings", "-p", `{"data":{"color":"green"}}`)
	cluster.WaitFor(t, "the change to reach the file", 10*time.Second, func() error {
		if out := c.Kubectl(t, "exec", "configured", "--", "cat", "/etc/settings/color"); out != "green" {
			return fmt.Errorf("the file holds %q", out)
		}
		return nil
	})
	c.Kubectl(t, "delete", "pod/configured", "configmap/settings", "secret/token")
}

func testPullSecret(t *testing.T, c *cluster.Cluster) {
	pod := func(name, secret string) string {
		return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  imagePullSecrets: [{name: %s}]
  containers: [{name: c, image: "%s/agent:v1", imagePullPolicy: Always}]
`, name, secret, cluster.AuthRegistry)
	}
	c.Kubectl(t, "create", "secret", "docker-registry", "right", "--docker-server="+cluster.AuthRegistry, "--docker-username=deployer", "--docker-password=s3cret")
	c.Apply(t, pod("allowed", "right")+"---"+pod("denied", "missing"))
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/allowed", "--timeout=60s")
	cluster.WaitFor(t, "the other pull to fail", 30*time.Second, func() error {
		out := c.Kubectl(t, "get", "pod", "denied", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
		if out != "ErrImagePull" && out != "ImagePullBackOff" {
			return fmt.Errorf("it waits for %q", out)
		}
		return nil
	})
	c.Kubectl(t, "delete", "pod", "allowed", "denied")
}

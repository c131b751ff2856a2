package server_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/config/pki"
	"skiff/kubelet/cri"
	"skiff/kubelet/env"
	"skiff/kubelet/node"
	"skiff/kubelet/server"
	"skiff/kubelet/stats"
	"skiff/kubelet/volumes"
	apienv "skiff/test/env"
)

const nodeName = "node-1"

// quiet is a runtime in which nothing runs, and a kubelet that knows one pod.
type quiet struct {
	pod *corev1.Pod
	log string
}

func (q *quiet) Status(context.Context) (cri.Status, error) {
	return cri.Status{RuntimeReady: true, NetworkReady: true}, nil
}

func (q *quiet) Version(context.Context) (name, version string, err error) {
	return "containerd", "v2", nil
}
func (q *quiet) Images(context.Context) ([]cri.Image, error)   { return nil, nil }
func (q *quiet) Stats(context.Context) ([]cri.PodStats, error) { return nil, nil }
func (q *quiet) Pods() []*corev1.Pod                           { return []*corev1.Pod{q.pod} }
func (q *quiet) Pod(_, name string) (*corev1.Pod, bool) {
	return q.pod, q.pod != nil && name == q.pod.Name
}

func (q *quiet) ImageFilesystem(context.Context) (cri.Filesystem, error) {
	return cri.Filesystem{}, nil
}

func (q *quiet) Exec(context.Context, server.StreamTarget, []string, server.StreamOptions) (*url.URL, error) {
	return nil, errors.New("nothing runs here")
}

func (q *quiet) Attach(context.Context, server.StreamTarget, server.StreamOptions) (*url.URL, error) {
	return nil, errors.New("nothing runs here")
}

func (q *quiet) PortForward(context.Context, string, string, []int32) (*url.URL, error) {
	return nil, errors.New("nothing runs here")
}

func (q *quiet) ContainerLog(context.Context, server.StreamTarget, bool) (string, func() bool, error) {
	return q.log, nil, nil
}

// agent is the node half under test, on a real API server and under the node's own identity.
type agent struct {
	t        *testing.T
	api      *apienv.Server
	admin    kubernetes.Interface
	runtime  *quiet
	reporter *node.Reporter
	volumes  *volumes.Manager
	env      *env.Builder
}

func startAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{t: t, api: apienv.Start(t, apienv.Options{}), runtime: &quiet{log: filepath.Join(t.TempDir(), "0.log")}}
	a.admin = kubernetes.NewForConfigOrDie(a.api.Admin())
	client := kubernetes.NewForConfigOrDie(a.api.Config("system:node:"+nodeName, "system:nodes"))
	factory := informers.NewSharedInformerFactory(a.admin, 0)
	root := t.TempDir()
	local := netip.MustParseAddr("127.0.0.1")
	own, err := pki.Load(pki.Config{Dir: filepath.Dir(a.api.PKI.File("ca.crt")), Addresses: []netip.Addr{local}, NodeName: nodeName})
	must(t, err)
	credentials, err := server.NewFiles(own.File("kubelet.crt"), own.File("kubelet.key"), own.File("ca.crt"))
	must(t, err)
	statistics, err := stats.New(stats.Config{NodeName: nodeName, Root: root}, a.runtime, a.runtime, nil)
	must(t, err)
	endpoint, err := server.New(server.Config{Address: "127.0.0.1:0", NodeName: nodeName}, server.Deps{
		Client: client, Credentials: credentials, Pods: a.runtime, Streams: a.runtime, Logs: a.runtime, Stats: statistics,
	})
	must(t, err)
	port, err := endpoint.Listen(t.Context())
	must(t, err)
	a.reporter, err = node.New(node.Config{Name: nodeName, Port: port, Root: root, IPs: []netip.Addr{local}}, node.Deps{
		Client: client, Informers: factory, Runtime: a.runtime, Images: a.runtime,
	})
	must(t, err)
	a.volumes, err = volumes.New(volumes.Config{Root: root}, volumes.Deps{Client: client, Informers: factory, Allocatable: a.reporter.Allocatable})
	must(t, err)
	a.env = env.New(env.Deps{Client: client, Informers: factory, Allocatable: a.reporter.Allocatable, VolumePath: a.volumes.Path})
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	done := make(chan error, 3)
	for _, run := range []func(context.Context) error{endpoint.Run, a.reporter.Run, a.volumes.Run} {
		go func() { done <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		factory.Shutdown()
	})
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// createPod binds a pod that uses a ConfigMap and a token to the node.
func (a *agent) createPod() *corev1.Pod {
	a.t.Helper()
	ctx := a.t.Context()
	_, err := a.admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}}, metav1.CreateOptions{})
	must(a.t, err)
	_, err = a.admin.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"color": "red"},
	}, metav1.CreateOptions{})
	must(a.t, err)
	projected := &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
	}}
	pod, err := a.admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{
			NodeName: nodeName, ServiceAccountName: "runner", AutomountServiceAccountToken: new(bool),
			Containers: []corev1.Container{{
				Name: "main", Image: "none", VolumeMounts: []corev1.VolumeMount{{Name: "all", MountPath: "/all"}},
				Env: []corev1.EnvVar{{Name: "COLOR", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "color",
				}}}},
			}},
			Volumes: []corev1.Volume{{Name: "all", VolumeSource: corev1.VolumeSource{Projected: projected}}},
		},
	}, metav1.CreateOptions{})
	must(a.t, err)
	return pod
}

func TestNodeOnARealAPI(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	a := startAgent(t)
	ctx := t.Context()
	eventually(t, "the node's becoming ready", a.reporter.Ready)
	eventually(t, "the node's lease", func() bool {
		_, err := a.admin.CoordinationV1().Leases("kube-node-lease").Get(ctx, nodeName, metav1.GetOptions{})
		return err == nil
	})
	pod := a.createPod()
	a.runtime.pod = pod.DeepCopy()
	a.runtime.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	a.checkVolumes(pod)
	variables, err := a.env.Environment(ctx, pod, &pod.Spec.Containers[0], "10.244.0.2", nil)
	must(t, err)
	if variables[0].Value != "blue" {
		t.Errorf("the environment is %v", variables)
	}
	a.checkEndpoint()
}

// checkVolumes mounts, checks that the token is good and that an update arrives, and unmounts.
func (a *agent) checkVolumes(pod *corev1.Pod) {
	t, ctx := a.t, a.t.Context()
	t.Helper()
	paths, err := a.volumes.Mount(ctx, pod)
	must(t, err)
	defer func() { must(t, a.volumes.Unmount(ctx, pod.UID)) }()
	token, err := os.ReadFile(filepath.Join(paths["all"], "token"))
	must(t, err)
	review, err := a.admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: string(token)},
	}, metav1.CreateOptions{})
	must(t, err)
	if !review.Status.Authenticated || review.Status.User.Username != "system:serviceaccount:default:runner" || len(review.Status.User.Extra["authentication.kubernetes.io/pod-name"]) == 0 {
		t.Errorf("the token is %+v", review.Status)
	}
	settings, err := a.admin.CoreV1().ConfigMaps("default").Get(ctx, "settings", metav1.GetOptions{})
	must(t, err)
	settings.Data["color"] = "blue"
	start := time.Now()
	_, err = a.admin.CoreV1().ConfigMaps("default").Update(ctx, settings, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "the update of a file", func() bool {
		got, err := os.ReadFile(filepath.Join(paths["all"], "color"))
		return err == nil && string(got) == "blue"
	})
	t.Logf("an update reached its file in %v", time.Since(start))
}

// checkEndpoint asks the endpoint through the API server, and past it as somebody who may not.
func (a *agent) checkEndpoint() {
	t, ctx := a.t, a.t.Context()
	t.Helper()
	must(t, os.WriteFile(a.runtime.log, []byte("2026-01-01T00:00:00Z stdout F hello\n"), 0o600))
	text, err := a.admin.CoreV1().Pods("default").GetLogs("web", &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil || !bytes.Equal(text, []byte("hello\n")) {
		t.Errorf("the log is %q (%v)", text, err)
	}
	for path, want := range map[string]string{"healthz": "ok", "metrics/resource": "node_cpu_usage_seconds_total", "stats/summary": `"nodeName": "node-1"`, "pods": "PodList"} {
		raw, err := a.admin.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", nodeName, "proxy", path).DoRaw(ctx)
		if err != nil || !strings.Contains(string(raw), want) && !strings.Contains(string(raw), strings.ReplaceAll(want, ": ", ":")) {
			t.Errorf("/%s answers %.300q (%v)", path, raw, err)
		}
	}
	token, err := a.admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "runner", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	found, err := a.admin.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	must(t, err)
	config := a.api.Remote("nobody")
	config.CertData, config.KeyData, config.BearerToken = nil, nil, token.Status.Token
	config.Host = (&url.URL{Scheme: "https", Host: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(found.Status.DaemonEndpoints.KubeletEndpoint.Port)).String()}).String()
	direct, err := kubernetes.NewForConfig(config)
	must(t, err)
	if err := direct.CoreV1().RESTClient().Get().AbsPath("/pods").Do(ctx).Error(); !apierrors.IsForbidden(err) {
		t.Errorf("a service account without rights gets %v", err)
	}
}

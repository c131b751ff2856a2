package kubelet

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/internal/nodetest"
	"skiff/kubelet/internal/ociarchive"
	"skiff/kubelet/server"
)

func TestRuntimeRestartsUnderRunningPods(t *testing.T) {
	f := start(t)
	f.create(newPod("stays", forever))
	p := f.await("stays", "ready", ready)
	id := p.Status.ContainerStatuses[0].ContainerID
	f.node.Halt(t)
	f.node.Boot(t)
	f.create(newPod("later", forever))
	f.await("later", "ready", ready)
	p = f.await("stays", "ready", ready)
	if s := p.Status.ContainerStatuses[0]; s.ContainerID != id || s.RestartCount != 0 {
		t.Errorf("the container was touched: %+v", s)
	}
}

func TestLostSandboxIsReplaced(t *testing.T) {
	f := start(t)
	f.create(newPod("lost", forever))
	before := f.await("lost", "ready", ready)
	found, err := f.node.CRI.Sandboxes(t.Context(), string(before.UID))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	// The node may take down the same network at the same time, and one of the two then fails; the pod tells.
	if err := f.node.CRI.StopSandbox(t.Context(), found[0].ID); err != nil {
		t.Log(err)
	}
	after := f.await("lost", "ready again", func(p *corev1.Pod) bool {
		return ready(p) && p.Status.ContainerStatuses[0].RestartCount > 0
	})
	if after.Status.PodIP == "" || after.Status.ContainerStatuses[0].LastTerminationState.Terminated == nil {
		t.Errorf("status %+v", after.Status)
	}
	hasEvent("Pod sandbox changed, it will be killed and re-created.")(t, f, after)
}

func TestKilledContainerRestarts(t *testing.T) {
	f := start(t)
	shared := true
	f.create(newPod("killed", "sleep 0.3; kill -9 $$$$", func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = &shared }))
	p := f.await("killed", "restarted", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("last %+v", last)
	}
}

func TestOrphansEnd(t *testing.T) {
	f := start(t)
	f.create(newPod("orphan", forever))
	f.await("orphan", "ready", ready)
	f.halt()
	if err := f.client.CoreV1().Pods("default").Delete(t.Context(), "orphan", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.boot()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, err := f.node.CRI.Sandboxes(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left: %+v", left)
		}
	}
}

func TestGraceAndPreStop(t *testing.T) {
	f := start(t)
	grace := int64(30)
	f.create(newPod("stubborn", "trap '' TERM; while true; do sleep 0.05; done"))
	f.create(newPod("hooked", "trap 'cat /tmp/stopped > /dev/termination-log; exit 0' TERM; while true; do sleep 0.05; done", func(p *corev1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo hook > /tmp/stopped"}}}}
		p.Finalizers = []string{"x/y"}
	}))
	f.await("stubborn", "ready", ready)
	f.await("hooked", "ready", ready)
	begun := time.Now()
	f.delete("stubborn")
	f.delete("hooked")
	f.await("stubborn", "gone", gone)
	if took := time.Since(begun); took < 2*time.Second || took > 8*time.Second {
		t.Errorf("a container that ignores SIGTERM took %v with a grace of 2 s", took)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(f.log2("hooked"), "hook") && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
}

// log2 is the final message of a pod's container as the API had it last, or as its events tell.
func (f *fixture) log2(name string) string {
	p, err := f.client.CoreV1().Pods("default").Get(f.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return "hook"
	}
	if s := p.Status.ContainerStatuses[0].State.Terminated; s != nil {
		if s.Message != "hook\n" {
			f.t.Errorf("the hook did not run before the end: %+v", s)
		}
		return "hook"
	}
	return ""
}

func TestStreamsAndLogs(t *testing.T) {
	f := start(t)
	f.create(newPod("s", "echo hello; "+forever))
	f.await("s", "ready", ready)
	target := server.StreamTarget{Namespace: "default", Pod: "s", Container: "c"}
	for what, get := range map[string]func() (fmt.Stringer, error){
		"exec": func() (fmt.Stringer, error) {
			return f.kubelet.Exec(t.Context(), target, []string{"id"}, server.StreamOptions{Stdout: true})
		},
		"attach": func() (fmt.Stringer, error) {
			return f.kubelet.Attach(t.Context(), target, server.StreamOptions{Stdout: true})
		},
		"forward": func() (fmt.Stringer, error) { return f.kubelet.PortForward(t.Context(), "default", "s", []int32{80}) },
	} {
		if u, err := get(); err != nil || !strings.HasPrefix(u.String(), "http://127.0.0.1:") {
			t.Errorf("%s: %v %v", what, u, err)
		}
	}
	out, err := f.kubelet.RunInContainer(t.Context(), target, []string{"echo", "hi"})
	if err != nil || string(out) != "hi\n" {
		t.Errorf("run: %q %v", out, err)
	}
	path, running, err := f.kubelet.ContainerLog(t.Context(), target, false)
	if err != nil || !running() {
		t.Fatalf("log: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "stdout F hello") {
		t.Errorf("log: %q %v", text, err)
	}
	if _, _, err := f.kubelet.ContainerLog(t.Context(), target, true); err == nil {
		t.Error("there is a previous log")
	}
	if _, err := f.kubelet.Exec(t.Context(), server.StreamTarget{Namespace: "default", Pod: "s", Container: "none"}, nil, server.StreamOptions{}); err == nil {
		t.Error("exec in a container that doesn't exist")
	}
	stats, err := f.node.CRI.Stats(t.Context())
	if err != nil || len(stats) != 1 || stats[0].Name != "s" || len(stats[0].Containers) != 1 || stats[0].Containers[0].WorkingSet == 0 {
		t.Errorf("stats %+v %v", stats, err)
	}
}

// registry serves one image to those who know the password.
func registry(t *testing.T, image ociarchive.Image) string {
	t.Helper()
	blobs, manifest, err := ociarchive.Blobs(image)
	if err != nil {
		t.Fatal(err)
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != want {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		part := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		kind := "application/octet-stream"
		if strings.Contains(r.URL.Path, "/manifests/") {
			part, kind = manifest, "application/vnd.oci.image.manifest.v1+json"
		}
		blob, ok := blobs[part]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		w.Header().Set("Docker-Content-Digest", part)
		if r.Method != http.MethodHead {
			_, _ = w.Write(blob)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestPrivateRegistry(t *testing.T) {
	f := start(t)
	host := registry(t, nodetest.BusyBoxImage(t, "private"))
	_, err := f.client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "login"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + host + `":{"username":"me","password":"secret"}}}`)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image := host + "/team/app:v1"
	f.create(newPod("refused", forever, func(p *corev1.Pod) { p.Spec.Containers[0].Image = image }))
	f.await("refused", "refused", waiting("ErrImagePull"))
	f.create(newPod("allowed", forever, func(p *corev1.Pod) {
		p.Spec.Containers[0].Image = image
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "login"}}
	}))
	p := f.await("allowed", "ready", ready)
	hasEvent("Successfully pulled image")(t, f, p)
	if s := p.Status.ContainerStatuses[0]; s.Image != image || !strings.HasPrefix(s.ImageID, host+"/team/app@sha256:") {
		t.Errorf("image %q id %q", s.Image, s.ImageID)
	}
}

func TestVolumesOfPodsThatAreGoneAreRemovedAtTheStart(t *testing.T) {
	f := start(t)
	f.create(newPod("stays", forever))
	f.await("stays", "ready", ready)
	f.halt()
	gone := filepath.Join(f.root, "pods", "ghost")
	if err := os.MkdirAll(filepath.Join(gone, "volumes/kubernetes.io~empty-dir/d/below"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.boot()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(gone); os.IsNotExist(err) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the directory of a pod that is gone stays")
		}
	}
	f.await("stays", "ready", ready)
}

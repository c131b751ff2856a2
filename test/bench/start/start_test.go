//go:build bench

// Package bench measures what the README claims; `make bench` prints it.
package bench

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/test/cluster"
)

const (
	runs = 5
	idle = 60 * time.Second
)

// figures are the measurements of one run, by name.
type figures map[string]float64

// TestStart measures a first start on an empty data directory: from the start
// of the process to /readyz, to a Ready node, to a Running pod whose image is
// present, and what the process costs when idle.
func TestStart(t *testing.T) {
	all := map[string][]float64{}
	for i := range runs {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			for name, value := range measure(t) {
				all[name] = append(all[name], value)
			}
		})
	}
	info, err := os.Stat(cluster.Binary(t, "bin/skiff"))
	if err != nil {
		t.Fatal(err)
	}
	all["size of bin/skiff, MB"] = []float64{float64(info.Size()) / 1e6}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Printf("%-40s %10s %10s %10s  (%d runs)\n", "figure", "median", "least", "most", runs)
	for _, name := range names {
		v := slices.Sorted(slices.Values(all[name]))
		fmt.Printf("%-40s %10.3f %10.3f %10.3f\n", name, v[len(v)/2], v[0], v[len(v)-1])
	}
}

func measure(t *testing.T) figures {
	c := cluster.New(t)
	c.ServeImages()
	out := figures{}
	began := time.Now()
	c.Launch()
	client := ready(t, c)
	out["start to /readyz, s"] = time.Since(began).Seconds()
	nodes := client.CoreV1().Nodes()
	until(t, func() bool {
		node, err := nodes.Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
	out["start to node Ready, s"] = time.Since(began).Seconds()
	// The second pod finds its image present; its time is added to the node's.
	runPod(t, client, "warm")
	out["first pod with image present, s"] = out["start to node Ready, s"] + runPod(t, client, "first").Seconds()
	out["pod create to Running, s"] = out["first pod with image present, s"] - out["start to node Ready, s"]

	pid := serverPID(t, c)
	time.Sleep(idle)
	used := cpu(t, pid)
	window := time.Now()
	time.Sleep(idle / 2)
	out["idle CPU, % of a core"] = 100 * (cpu(t, pid) - used).Seconds() / time.Since(window).Seconds()
	out["idle RSS, MB"] = rss(t, pid)
	began = time.Now()
	c.Stop(syscall.SIGTERM)
	out["SIGTERM to exit, s"] = time.Since(began).Seconds()
	return out
}

func ready(t *testing.T, c *cluster.Cluster) *kubernetes.Clientset {
	t.Helper()
	var client *kubernetes.Clientset
	until(t, func() bool {
		rc, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
		if err != nil {
			return false
		}
		rc.Dial, rc.QPS = c.NS.Dial, -1
		if client, err = kubernetes.NewForConfig(rc); err != nil {
			return false
		}
		code := 0
		client.RESTClient().Get().AbsPath("/readyz").Do(t.Context()).StatusCode(&code)
		return code == http.StatusOK
	})
	return client
}

func runPod(t *testing.T, client *kubernetes.Clientset, name string) time.Duration {
	t.Helper()
	pods := client.CoreV1().Pods("default")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: cluster.OpenRegistry + "/agent:v1"}}}}
	began := time.Now()
	until(t, func() bool {
		_, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		return err == nil
	})
	w, err := pods.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodRunning {
			return time.Since(began)
		}
	}
	t.Fatal("the watch ended before the pod ran")
	return 0
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("gave up after a minute")
		}
	}
}

func serverPID(t *testing.T, c *cluster.Cluster) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.DataDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// cpu is the user and system time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// rss is the resident memory of a process in MB.
func rss(t *testing.T, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kb) / 1000
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

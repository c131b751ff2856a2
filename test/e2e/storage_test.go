package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"skiff/test/cluster"
)

// database is a StatefulSet whose pod, of an ordinary user, keeps data in a claim of the default class.
const database = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 1234, runAsNonRoot: true}
      containers:
      - name: db
        image: ` + cluster.OpenRegistry + `/agent:v1
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
`

// TestStorage keeps data in a volume of the default class: it outlives its pod and the server, it grows, and it goes
// with its claim, but never while a pod uses it.
func TestStorage(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	if out := c.Kubectl(t, "get", "storageclass"); !strings.Contains(out, "local-path (default)   skiff.dev/local-path   Delete          WaitForFirstConsumer   true") {
		t.Errorf("the storage classes are\n%s", out)
	}
	c.Apply(t, database)
	ready := func() {
		t.Helper()
		c.Kubectl(t, "rollout", "status", "statefulset/db", "--timeout=90s")
		c.Kubectl(t, "wait", "--for=condition=Ready", "pod/db-0", "--timeout=60s")
	}
	holds := func(want string) {
		t.Helper()
		if got := c.Kubectl(t, "exec", "db-0", "--", "cat", "/data/mark"); got != want {
			t.Errorf("the volume holds %q, want %q", got, want)
		}
	}
	ready()
	c.Kubectl(t, "exec", "db-0", "--", "sh", "-c", "printf kept > /data/mark")
	volume := c.Kubectl(t, "get", "pvc", "data-db-0", "-o", "jsonpath={.spec.volumeName}")
	dir := filepath.Join(c.DataDir(), "volumes", volume)
	if got, err := os.ReadFile(filepath.Join(dir, "mark")); err != nil || string(got) != "kept" {
		t.Errorf("the volume's directory holds %q, %v", got, err)
	}
	c.Kubectl(t, "delete", "pod", "db-0")
	ready()
	holds("kept")
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		c.Stop(signal)
		c.Start()
		ready()
		holds("kept")
	}
	c.Kubectl(t, "patch", "pvc", "data-db-0", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	c.Kubectl(t, "wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "pvc/data-db-0", "--timeout=30s")

	c.Kubectl(t, "delete", "pvc", "data-db-0", "--wait=false")
	c.Kubectl(t, "wait", "--for=jsonpath={.metadata.deletionTimestamp}", "pvc/data-db-0", "--timeout=30s")
	holds("kept")
	// Without its protection the claim goes, and the volume with it, but for the pod, which has it mounted.
	c.Kubectl(t, "patch", "pvc", "data-db-0", "-p", `{"metadata":{"finalizers":null}}`)
	c.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Released", "pv/"+volume, "--timeout=30s")
	cluster.WaitFor(t, "the word that the volume is in use", 30*time.Second, func() error {
		out, err := c.Try("get", "events", "--field-selector=reason=VolumeDelete,involvedObject.name="+volume, "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(out, "the volume is still in use") {
			err = fmt.Errorf("events say %q", out)
		}
		return err
	})
	holds("kept")
	c.Kubectl(t, "delete", "statefulset", "db")
	c.Kubectl(t, "wait", "--for=delete", "pv/"+volume, "--timeout=60s")
	c.Kubectl(t, "delete", "pvc", "--all") // the StatefulSet may have made the claim again
	cluster.WaitFor(t, "the end of the directory", 10*time.Second, func() error {
		left, err := os.ReadDir(filepath.Join(c.DataDir(), "volumes"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v is left", left)
		}
		return err
	})
	c.Kubectl(t, "delete", "storageclass", "local-path")
	c.Stop(syscall.SIGTERM)
	c.Start()
	if out := c.Kubectl(t, "get", "storageclass", "-o", "name"); out != "" {
		t.Errorf("the deleted class is back: %s", out)
	}
	log, err := os.ReadFile(c.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "is forbidden") {
			t.Errorf("the server did what it may not: %s", line)
		}
	}
}

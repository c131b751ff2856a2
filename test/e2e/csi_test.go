package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"skiff/test/cluster"
	"skiff/test/csidriver"
)

// disks is a driver that wants its volumes attached, one of its volumes, and a pod with that, with one of its own and with
// an image.
const disks = `
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: disk.example.com}
spec: {attachRequired: true, podInfoOnMount: true, volumeLifecycleModes: [Persistent, Ephemeral], tokenRequests: [{audience: vault}]}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk-1}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: manual
  claimRef: {namespace: default, name: data}
  csi:
    driver: disk.example.com
    volumeHandle: handle-1
    fsType: ext4
    nodeStageSecretRef: {namespace: default, name: stage}
---
apiVersion: v1
kind: Secret
metadata: {name: stage}
stringData: {password: secret}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: manual, volumeName: disk-1, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: db}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 4321}
  containers:
  - name: db
    image: ` + cluster.OpenRegistry + `/agent:v1
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: data, mountPath: /below, subPath: below}
    - {name: scratch, mountPath: /scratch}
    - {name: tools, mountPath: /tools}
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: scratch, csi: {driver: disk.example.com, volumeAttributes: {size: "1"}}}
  - {name: tools, image: {reference: "` + cluster.OpenRegistry + `/agent:v1"}}
`

// TestDriversVolumes has a pod use what a CSI driver provides: the node registers the driver, waits until a volume is
// attached, survives a kill with it, and lets it be detached only once the pod is gone.
func TestDriversVolumes(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	data := filepath.Join(c.Dir, "disks")
	driver, err := csidriver.Start(t.Context(), csidriver.Config{
		Name: "disk.example.com", NodeID: "n1", Data: data, Socket: filepath.Join(c.DataDir(), "kubelet/plugins_registry/disk.sock"),
		Abilities: []spec.NodeServiceCapability_RPC_Type{spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME},
		Topology:  map[string]string{"example.com/zone": "a"}, MaxVolumes: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(driver.Stop)
	c.Kubectl(t, "wait", "--for=jsonpath={.spec.drivers[0].name}=disk.example.com", "csinode/node-1", "--timeout=30s")
	if got := c.Kubectl(t, "get", "node", "node-1", "-o", `jsonpath={.metadata.labels.example\.com/zone}`); got != "a" {
		t.Errorf("the node's zone is %q", got)
	}
	c.Apply(t, disks)

	attachment := ""
	cluster.WaitFor(t, "an attachment to be wanted", 30*time.Second, func() error {
		attachment, err = c.Try("get", "volumeattachment", "-o", "jsonpath={.items[0].metadata.name}")
		return err
	})
	if got := driver.Methods(); slices.Contains(got, "NodeStageVolume") {
		t.Errorf("before it was attached the driver was asked %v", got)
	}
	c.Kubectl(t, "patch", "volumeattachment", attachment, "--subresource=status", "--type=merge", "-p", `{"status":{"attached":true,"attachmentMetadata":{"lun":"3"}}}`)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/db", "--timeout=60s")
	c.Kubectl(t, "exec", "db", "--", "sh", "-c", "printf kept > /data/mark && printf low > /below/mark")
	for file, want := range map[string]string{"mark": "kept", "below/mark": "low"} {
		if got, err := os.ReadFile(filepath.Join(data, "handle-1", file)); err != nil || string(got) != want {
			t.Errorf("%s in the volume holds %q (%v)", file, got, err)
		}
	}
	if out := c.Kubectl(t, "exec", "db", "--", "sh", "-c", "ls /tools; touch /tools/x || echo read-only"); !strings.Contains(out, "bin") || !strings.Contains(out, "read-only") {
		t.Errorf("the image's content is %s", out)
	}
	stage := driver.Calls()[slices.Index(driver.Methods(), "NodeStageVolume")].Request.(*spec.NodeStageVolumeRequest)
	if stage.PublishContext["lun"] != "3" || stage.Secrets["password"] != "secret" {
		t.Errorf("staged with %v", stage)
	}

	c.Stop(syscall.SIGKILL)
	c.Start()
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/db", "--timeout=60s")
	if got := c.Kubectl(t, "exec", "db", "--", "cat", "/data/mark"); got != "kept" {
		t.Errorf("after a kill the volume holds %q", got)
	}
	if got := c.Kubectl(t, "get", "node", "node-1", "-o", "jsonpath={.status.volumesInUse}"); got != `["kubernetes.io/csi/disk.example.com^handle-1"]` {
		t.Errorf("in use: %s", got)
	}
	c.Kubectl(t, "delete", "pod", "db")
	if got := driver.Methods(); !slices.Contains(got, "NodeUnstageVolume") {
		t.Errorf("the pod went before its volume: %v", got)
	}
	cluster.WaitFor(t, "the detachment", 30*time.Second, func() error {
		left, err := c.Try("get", "volumeattachment", "-o", "name")
		if err == nil && left != "" {
			err = fmt.Errorf("%s is left", left)
		}
		return err
	})
	if got, err := os.ReadFile(filepath.Join(data, "handle-1/mark")); err != nil || string(got) != "kept" {
		t.Errorf("the volume's content is %q (%v)", got, err)
	}
}

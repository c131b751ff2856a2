package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const diskName = corev1.UniqueVolumeName("kubernetes.io/csi/d.example.com^disk")

// disk makes the bound claim shop/disk of a volume that one node at a time may have.
func (c *cluster) disk() {
	c.t.Helper()
	ctx := c.t.Context()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: claimSpec()}
	claim.Spec.VolumeName = "pv"
	claim, err := c.client.CoreV1().PersistentVolumeClaims("shop").Create(ctx, claim, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{corev1.ResourceStorage: mustQuantity("1Gi")},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "disk"}},
		ClaimRef:               &corev1.ObjectReference{Namespace: "shop", Name: "disk", UID: claim.UID},
	}}
	if _, err := c.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	kind, patch := merge(`{"status":{"phase":"Bound"}}`)
	if _, err := c.client.CoreV1().PersistentVolumeClaims("shop").Patch(ctx, "disk", kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		c.t.Fatal(err)
	}
}

// manage makes the node leave attaching to the controller, and adds another.
func (c *cluster) manage() {
	c.t.Helper()
	ctx := c.t.Context()
	const annotation = "volumes.kubernetes.io/controller-managed-attach-detach"
	kind, patch := merge(`{"metadata":{"annotations":{"` + annotation + `":"true"}}}`)
	if _, err := c.client.CoreV1().Nodes().Patch(ctx, nodeName, kind, patch, metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
	other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-2", Annotations: map[string]string{annotation: "true"}}}
	now := metav1.Now()
	other.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletReady"}}
	if _, err := c.client.CoreV1().Nodes().Create(ctx, other, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) runOn(node, name string) {
	c.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template(nil, "v1").Spec}
	pod.Spec.NodeName = node
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}}}
	if _, err := c.client.CoreV1().Pods("shop").Create(c.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// attachment waits for the one attachment that there is, to that node.
func (c *cluster) attachment(node string) (found storagev1.VolumeAttachment) {
	c.t.Helper()
	c.eventually("attachment to "+node, func(ctx context.Context) string {
		list, err := c.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Spec.NodeName != node {
			return fmt.Sprintf("%+v, %v", list.Items, err)
		}
		found = list.Items[0]
		return ""
	})
	return found
}

// driver answers for the attachment, as the driver's attacher does.
func (c *cluster) driver(attachment, status string) {
	c.t.Helper()
	kind, patch := merge(`{"status":` + status + `}`)
	if _, err := c.client.StorageV1().VolumeAttachments().Patch(c.t.Context(), attachment, kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		c.t.Fatal(err)
	}
}

// reports waits until the node's status lists the volume, or does not.
func (c *cluster) reports(node string, want bool) {
	c.t.Helper()
	c.eventually("volumes of "+node, func(ctx context.Context) string {
		n, err := c.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil || slices.Contains(n.Status.VolumesAttached, corev1.AttachedVolume{Name: diskName}) != want {
			return fmt.Sprintf("%v, %v", n.Status.VolumesAttached, err)
		}
		return ""
	})
}

func (c *cluster) use(node, volumes string) {
	c.t.Helper()
	kind, patch := merge(`{"status":{"volumesInUse":` + volumes + `}}`)
	if _, err := c.client.CoreV1().Nodes().Patch(c.t.Context(), node, kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		c.t.Fatal(err)
	}
}

// TestAttachStory takes a volume from one node to another: nobody gets it before the first has let it go.
func TestAttachStory(t *testing.T) {
	c, registry := measured(t)
	ctx := t.Context()
	c.namespace("shop")
	c.manage()
	c.disk()
	c.runOn(nodeName, "first")
	a := c.attachment(nodeName)
	if a.Spec.Attacher != "d.example.com" || *a.Spec.Source.PersistentVolumeName != "pv" {
		t.Errorf("attachment %+v", a.Spec)
	}
	c.driver(a.Name, `{"attached":false,"attachError":{"time":"2026-01-02T03:04:05Z","message":"no such disk"}}`)
	told := func(pod, reason, message string) {
		t.Helper()
		c.eventually("event of "+pod, func(ctx context.Context) string {
			return c.eventOf(ctx, "shop", pod, "attachdetach-controller", reason, message)
		})
	}
	told("first", "FailedAttachVolume", `AttachVolume.Attach failed for volume "pv" : no such disk`)
	c.driver(a.Name, `{"attached":true,"attachError":null}`)
	c.reports(nodeName, true)
	told("first", "SuccessfulAttachVolume", `AttachVolume.Attach succeeded for volume "pv" `)
	c.use(nodeName, `["`+string(diskName)+`"]`)
	c.runOn("node-2", "second")
	told("second", "FailedAttachVolume", `Waiting for detach for volume "pv" Volume is already used by pod(s) first`)
	if err := c.client.CoreV1().Pods("shop").Delete(ctx, "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the pod", c.client.CoreV1().Pods("shop").Get, "first")
	c.attachment(nodeName) // the node still uses the volume
	c.reports(nodeName, true)
	c.use(nodeName, "null")
	c.reports(nodeName, false)
	b := c.attachment("node-2")
	c.driver(b.Name, `{"attached":true}`)
	c.reports("node-2", true)

	c.use("node-2", `["`+string(diskName)+`"]`)
	if err := c.client.CoreV1().Pods("shop").Delete(ctx, "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kind, patch := merge(`{"spec":{"taints":[{"key":"node.kubernetes.io/out-of-service","effect":"NoExecute"}]}}`)
	if _, err := c.client.CoreV1().Nodes().Patch(ctx, "node-2", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the attachment of a node out of service", c.client.StorageV1().VolumeAttachments().Get, b.Name)
	c.reports("node-2", false)
	for operation, times := range map[string]float64{
		"volume_attach status=success": 2, "volume_attach status=fail-unknown": 1, "volume_detach status=success": 2,
	} {
		name, status, _ := strings.Cut(operation, " ")
		c.shows(registry, "storage_operation_duration_seconds migrated=false operation_name="+name+" "+status+" volume_plugin=kubernetes.io/csi:d.example.com", exactly(times))
	}
}

// TestUnattachedVolumes leaves the volumes of a driver alone that wants none attached.
func TestUnattachedVolumes(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	drivers := c.client.StorageV1().CSIDrivers()
	if _, err := drivers.Create(ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d.example.com"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr(false)}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.manage()
	c.disk()
	c.runOn("node-2", "web")
	c.eventually("running pod", func(ctx context.Context) string {
		if p, err := c.client.CoreV1().Pods("shop").Get(ctx, "web", metav1.GetOptions{}); err != nil || p.Status.Phase != corev1.PodRunning {
			return fmt.Sprint(err)
		}
		return ""
	})
	if list, err := c.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("attachments %+v, %v", list.Items, err)
	}
	if err := drivers.Delete(ctx, "d.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.attachment("node-2")
}

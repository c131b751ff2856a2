package controllers_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// volume makes a volume of the class, the size and the policy.
func (c *cluster) volume(name, class, size string, policy corev1.PersistentVolumeReclaimPolicy) {
	c.t.Helper()
	_, err := c.client.CoreV1().PersistentVolumes().Create(c.t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class, PersistentVolumeReclaimPolicy: policy,
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: mustQuantity(size)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com", VolumeHandle: name}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// claim makes a claim of 1Gi in the class, or, if nil, in none.
func (c *cluster) claim(name string, class *string, change ...func(*corev1.PersistentVolumeClaim)) {
	c.t.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: claimSpec()}
	claim.Spec.StorageClassName = class
	for _, f := range change {
		f(claim)
	}
	if _, err := c.client.CoreV1().PersistentVolumeClaims("shop").Create(c.t.Context(), claim, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// class makes a storage class.
func (c *cluster) class(name string, mode storagev1.VolumeBindingMode, annotations map[string]string) {
	c.t.Helper()
	yes := true
	_, err := c.client.StorageV1().StorageClasses().Create(c.t.Context(), &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Annotations: annotations},
		Provisioner: "example.com/disk", VolumeBindingMode: &mode, AllowVolumeExpansion: &yes,
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// bound waits until the claim is in the phase and names the volume.
func (c *cluster) bound(name, volume string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
	c.t.Helper()
	var claim *corev1.PersistentVolumeClaim
	c.eventually("claim "+name, func(ctx context.Context) string {
		var err error
		claim, err = c.client.CoreV1().PersistentVolumeClaims("shop").Get(ctx, name, metav1.GetOptions{})
		if err != nil || claim.Status.Phase != phase || claim.Spec.VolumeName != volume {
			return fmt.Sprintf("%+v, %v", claim, err)
		}
		return ""
	})
	return claim
}

func (c *cluster) volumePhase(name string, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
	c.t.Helper()
	var volume *corev1.PersistentVolume
	c.eventually("volume "+name, func(ctx context.Context) string {
		var err error
		volume, err = c.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		if err != nil || volume.Status.Phase != phase {
			return fmt.Sprintf("%+v, %v", volume, err)
		}
		return ""
	})
	return volume
}

// said waits for an event of the component.
func (c *cluster) said(namespace, object, component, reason, message string) {
	c.t.Helper()
	c.eventually(reason+" of "+object, func(ctx context.Context) string {
		events, err := c.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		var seen []string
		for _, e := range events.Items {
			if e.InvolvedObject.Name == object && e.Source.Component == component && e.Reason == reason && e.Message == message {
				return ""
			}
			seen = append(seen, e.InvolvedObject.Name+" "+e.Source.Component+" "+e.Reason+": "+e.Message)
		}
		return fmt.Sprint(seen)
	})
}

const binder = "persistentvolume-controller"

// TestBindingStory binds a claim to the smallest volume that is large enough, releases the volume with the claim, and
// tells a claim whose volume is gone that its data is lost.
func TestBindingStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	c.volume("large", "", "5Gi", corev1.PersistentVolumeReclaimRetain)
	c.volume("fitting", "", "2Gi", corev1.PersistentVolumeReclaimRetain)
	c.volume("small", "", "500Mi", corev1.PersistentVolumeReclaimRetain)
	for _, name := range []string{"large", "fitting", "small"} {
		c.volumePhase(name, corev1.VolumeAvailable)
	}
	c.claim("data", ptr(""))
	claim := c.bound("data", "fitting", corev1.ClaimBound)
	if claim.Annotations["pv.kubernetes.io/bind-completed"] != "yes" || claim.Annotations["pv.kubernetes.io/bound-by-controller"] != "yes" || claim.Status.Capacity.Storage().String() != "2Gi" {
		t.Errorf("claim %+v", claim)
	}
	volume := c.volumePhase("fitting", corev1.VolumeBound)
	if volume.Spec.ClaimRef.UID != claim.UID || volume.Annotations["pv.kubernetes.io/bound-by-controller"] != "yes" {
		t.Errorf("volume %+v", volume)
	}
	c.claim("chosen", ptr(""), func(p *corev1.PersistentVolumeClaim) { p.Spec.VolumeName = "small" })
	c.said("shop", "chosen", binder, "VolumeMismatch", `Cannot bind to requested volume "small": requested PV is too small`)
	c.claim("greedy", ptr(""), func(p *corev1.PersistentVolumeClaim) { p.Spec.VolumeName = "fitting" })
	c.said("shop", "greedy", binder, "FailedBinding", `volume "fitting" already bound to a different claim.`)

	if err := c.client.CoreV1().PersistentVolumeClaims("shop").Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.volumePhase("fitting", corev1.VolumeReleased)
	c.claim("second", ptr("")) // gets the larger one: what was released is not given away
	second := c.bound("second", "large", corev1.ClaimBound)
	kind, patch := merge(`{"metadata":{"finalizers":null}}`)
	if err := c.client.CoreV1().PersistentVolumes().Delete(ctx, "large", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.CoreV1().PersistentVolumes().Patch(ctx, "large", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.bound("second", second.Spec.VolumeName, corev1.ClaimLost)
	c.said("shop", "second", binder, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
}

// TestManyClaimsStory gives no volume to two claims.
func TestManyClaimsStory(t *testing.T) {
	c := newCluster(t)
	c.namespace("shop")
	const count = 20
	for i := range count {
		c.claim(fmt.Sprintf("data-%d", i), ptr(""))
	}
	for i := range count {
		c.volume(fmt.Sprintf("disk-%d", i), "", "1Gi", corev1.PersistentVolumeReclaimRetain)
	}
	c.eventually("claims", func(ctx context.Context) string {
		list, err := c.client.CoreV1().PersistentVolumeClaims("shop").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		volumes := map[string]bool{}
		for _, claim := range list.Items {
			if claim.Status.Phase == corev1.ClaimBound {
				volumes[claim.Spec.VolumeName] = true
			}
		}
		if len(volumes) != count {
			return fmt.Sprintf("%d volumes are bound", len(volumes))
		}
		return ""
	})
}

// TestProvisioningStory follows a claim without a class from nothing to a provisioned volume, which then grows.
func TestProvisioningStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	c.claim("data", nil)
	c.said("shop", "data", binder, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	c.class("later", storagev1.VolumeBindingWaitForFirstConsumer, map[string]string{"storageclass.kubernetes.io/is-default-class": "true"})
	c.said("shop", "data", binder, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	claims := c.client.CoreV1().PersistentVolumeClaims("shop")
	kind, patch := merge(`{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"` + nodeName + `"}}}`)
	if _, err := claims.Patch(ctx, "data", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.said("shop", "data", binder, "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner 'example.com/disk' or manually by the system administrator. "+
		"If volume creation is delayed, please verify that the provisioner is running and correctly registered.")
	claim := c.bound("data", "", corev1.ClaimPending)
	if claim.Annotations["volume.kubernetes.io/storage-provisioner"] != "example.com/disk" || claim.Annotations["volume.beta.kubernetes.io/storage-provisioner"] != "example.com/disk" || *claim.Spec.StorageClassName != "later" {
		t.Errorf("claim %+v", claim)
	}
	c.provision(claim)
	claim = c.bound("data", "pvc-1", corev1.ClaimBound)
	c.volumePhase("pvc-1", corev1.VolumeBound)
	if claim.Annotations["pv.kubernetes.io/bind-completed"] != "yes" {
		t.Errorf("claim %+v", claim)
	}
	kind, patch = merge(`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	if _, err := claims.Patch(ctx, "data", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.said("shop", "data", "volume_expand", "ExternalExpanding", "waiting for an external controller to expand this PVC")
	if err := claims.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.volumePhase("pvc-1", corev1.VolumeReleased) // for its provisioner to delete
}

// provision makes the claim's volume as its provisioner would.
func (c *cluster) provision(claim *corev1.PersistentVolumeClaim) {
	c.t.Helper()
	_, err := c.client.CoreV1().PersistentVolumes().Create(c.t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "example.com/disk"}},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: claim.Spec.AccessModes, Capacity: claim.Spec.Resources.Requests, StorageClassName: "later",
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com", VolumeHandle: "1"}},
			ClaimRef:                      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "shop", Name: claim.Name, UID: claim.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestReclaimStory says which released volumes nobody can delete, and lets a volume that was bound in vain go.
func TestReclaimStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	volumes := c.client.CoreV1().PersistentVolumes()
	_, err := volumes.Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "path"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{corev1.ResourceStorage: mustQuantity("1Gi")},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:                      &corev1.ObjectReference{Namespace: "shop", Name: "data"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.volumePhase("path", corev1.VolumeAvailable)
	c.claim("data", ptr(""))
	claim := c.bound("data", "path", corev1.ClaimBound)

	c.volume("vain", "", "1Gi", corev1.PersistentVolumeReclaimRetain)
	c.volumePhase("vain", corev1.VolumeAvailable)
	kind, patch := merge(fmt.Sprintf(`{"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"}},"spec":{"claimRef":{"namespace":"shop","name":"data","uid":%q}}}`, claim.UID))
	if _, err := volumes.Patch(ctx, "vain", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("volume bound in vain", func(ctx context.Context) string {
		v, err := volumes.Get(ctx, "vain", metav1.GetOptions{})
		if err != nil || v.Spec.ClaimRef != nil || v.Status.Phase != corev1.VolumeAvailable {
			return fmt.Sprintf("%+v, %v", v, err)
		}
		return ""
	})
	if err := c.client.CoreV1().PersistentVolumeClaims("shop").Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	const why = "host_path deleter only supports /tmp/.+ but received provided /data"
	if v := c.volumePhase("path", corev1.VolumeFailed); v.Status.Message != why {
		t.Errorf("status %+v", v.Status)
	}
	c.said("default", "path", binder, "VolumeFailedDelete", why)
	if err := volumes.Delete(ctx, "path", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the volume", volumes.Get, "path")
}

// TestResizerStory names the CSI driver that is to resize a volume of a driver that was part of Kubernetes.
func TestResizerStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	c.class("disks", storagev1.VolumeBindingImmediate, nil)
	_, err := c.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "disk"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: "disks",
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: mustQuantity("1Gi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "disk"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.volumePhase("disk", corev1.VolumeAvailable)
	c.claim("data", ptr("disks"))
	c.bound("data", "disk", corev1.ClaimBound)
	kind, patch := merge(`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	if _, err := c.client.CoreV1().PersistentVolumeClaims("shop").Patch(ctx, "data", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.said("shop", "data", "volume_expand", "ExternalExpanding", "CSI migration enabled for kubernetes.io/gce-pd; waiting for external resizer to expand the pvc")
	c.eventually("resizer", func(ctx context.Context) string {
		claim, err := c.client.CoreV1().PersistentVolumeClaims("shop").Get(ctx, "data", metav1.GetOptions{})
		if err != nil || claim.Annotations["volume.kubernetes.io/storage-resizer"] != "pd.csi.storage.gke.io" {
			return fmt.Sprintf("%v, %v", claim.Annotations, err)
		}
		return ""
	})
}

// TestRecycleStory empties a volume by a pod, though somebody made one of its name before, and offers it again.
func TestRecycleStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	_, err := c.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "path"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{corev1.ResourceStorage: mustQuantity("1Gi")},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRecycle,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.volumePhase("path", corev1.VolumeAvailable)
	c.claim("data", ptr(""))
	c.bound("data", "path", corev1.ClaimBound)
	forged := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "recycler-for-path"}, Spec: template(nil, "v1").Spec}
	c.eventually("a pod of that name", func(ctx context.Context) string {
		if _, err := c.client.CoreV1().Pods("default").Create(ctx, forged, metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	if err := c.client.CoreV1().PersistentVolumeClaims("shop").Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("an empty volume", func(ctx context.Context) string {
		v, err := c.client.CoreV1().PersistentVolumes().Get(ctx, "path", metav1.GetOptions{})
		if err != nil || v.Spec.ClaimRef != nil || v.Status.Phase != corev1.VolumeAvailable || len(c.pods(ctx, "default")) > 0 {
			return fmt.Sprintf("%+v, %v", v, err)
		}
		return ""
	})
	c.said("default", "path", binder, "VolumeRecycled", "Volume recycled")
	c.claim("second", ptr(""))
	c.bound("second", "path", corev1.ClaimBound)
}

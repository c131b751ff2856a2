package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func claimSpec() corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr(""),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: mustQuantity("1Gi")}},
	}
}

// TestEphemeralVolumeStory runs a pod with a volume of its own: its claim comes, is protected, comes again, and goes.
func TestEphemeralVolumeStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: template(nil, "v1").Spec}
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tier": "scratch"}}, Spec: claimSpec()},
	}}}}
	pod, err := c.client.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claims := c.client.CoreV1().PersistentVolumeClaims("shop")
	c.eventually("claim", func(ctx context.Context) string {
		claim, err := claims.Get(ctx, "web-scratch", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if !metav1.IsControlledBy(claim, pod) || claim.Labels["tier"] != "scratch" || !slices.Contains(claim.Finalizers, "kubernetes.io/pvc-protection") {
			t.Errorf("claim %+v", claim.ObjectMeta)
		}
		return ""
	})
	c.eventually("running pod", func(ctx context.Context) string {
		if p, err := c.client.CoreV1().Pods("shop").Get(ctx, "web", metav1.GetOptions{}); err != nil || p.Status.Phase != corev1.PodRunning {
			return fmt.Sprintf("%v", err)
		}
		return ""
	})
	if err := claims.Delete(ctx, "web-scratch", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if claim, err := claims.Get(ctx, "web-scratch", metav1.GetOptions{}); err != nil || claim.DeletionTimestamp == nil {
		t.Errorf("a claim in use is gone: %v", err)
	}
	if err := c.client.CoreV1().Pods("shop").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the claim", claims.Get, "web-scratch")
}

// TestForeignClaimStory leaves a pod waiting whose volume's claim is someone else's, and says so.
func TestForeignClaimStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	foreign := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web-scratch"}, Spec: claimSpec()}
	if _, err := c.client.CoreV1().PersistentVolumeClaims("shop").Create(ctx, foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: template(nil, "v1").Spec}
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claimSpec()},
	}}}}
	pod, err := c.client.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "ephemeral volume scratch: PVC shop/web-scratch was not created for pod shop/web (pod is not owner)"
	c.eventually("event", func(ctx context.Context) string {
		events, err := c.client.CoreV1().Events("shop").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		var seen []string
		for _, e := range events.Items {
			if e.Reason == "FailedBinding" && e.Message == want && e.InvolvedObject.UID == pod.UID && e.Source.Component == "ephemeral_volume" {
				return ""
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return fmt.Sprint(seen)
	})
}

// TestVolumeProtectionStory keeps a bound volume until it is free.
func TestVolumeProtectionStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	volumes := c.client.CoreV1().PersistentVolumes()
	c.volume("disk", "", "1Gi", corev1.PersistentVolumeReclaimRetain)
	c.volumePhase("disk", corev1.VolumeAvailable)
	c.claim("data", ptr(""))
	c.bound("data", "disk", corev1.ClaimBound)
	if err := volumes.Delete(ctx, "disk", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if volume, err := volumes.Get(ctx, "disk", metav1.GetOptions{}); err != nil || volume.DeletionTimestamp == nil {
		t.Fatalf("the bound volume is gone: %v", err)
	}
	if err := c.client.CoreV1().PersistentVolumeClaims("shop").Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the volume", volumes.Get, "disk")
}

func TestNodeAnnotationStory(t *testing.T) {
	c := newCluster(t)
	c.eventually("annotation", func(ctx context.Context) string {
		node, err := c.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil || node.Annotations["node.alpha.kubernetes.io/ttl"] != "0" {
			return fmt.Sprintf("%v, %v", node.Annotations, err)
		}
		return ""
	})
}

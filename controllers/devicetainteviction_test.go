package controllers_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// publish makes the driver publish its device, with taints of these keys.
func (c *cluster) publish(taints ...string) {
	c.t.Helper()
	devices := c.client.ResourceV1().ResourceSlices()
	c.eventually("slice", func(ctx context.Context) string {
		slice, err := devices.Get(ctx, "slice", metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if missing {
			slice = &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "slice"}, Spec: resourcev1.ResourceSliceSpec{
				Driver: "gpu.example.com", NodeName: ptr(nodeName), Pool: resourcev1.ResourcePool{Name: nodeName, ResourceSliceCount: 1},
			}}
		}
		device := resourcev1.Device{Name: "gpu-0"}
		for _, key := range taints {
			device.Taints = append(device.Taints, resourcev1.DeviceTaint{Key: key, Effect: resourcev1.DeviceTaintEffectNoExecute})
		}
		slice.Spec.Devices = []resourcev1.Device{device}
		if missing {
			_, err = devices.Create(ctx, slice, metav1.CreateOptions{})
		} else {
			_, err = devices.Update(ctx, slice, metav1.UpdateOptions{})
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// runWithDevice runs a pod with the device that the driver publishes.
func (c *cluster) runWithDevice(name string, tolerations ...resourcev1.DeviceToleration) *corev1.Pod {
	c.t.Helper()
	pod, err := c.client.CoreV1().Pods("shop").Create(c.t.Context(), devicePod(name, corev1.PodResourceClaim{Name: "gpu", ResourceClaimTemplateName: ptr("gpus")}), metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	claim := c.madeClaim("shop", name)
	result := deviceResult()
	result.Tolerations = tolerations
	c.allocate("shop", claim, result)
	c.eventually("reservation of "+claim, func(ctx context.Context) string {
		got, err := c.client.ResourceV1().ResourceClaims("shop").Get(ctx, claim, metav1.GetOptions{})
		if err != nil || len(got.Status.ReservedFor) != 1 {
			return fmt.Sprintf("%+v, %v", got.Status, err)
		}
		return ""
	})
	return pod
}

func (c *cluster) ends(name string) {
	c.t.Helper()
	gone(c, "end of "+name, c.client.CoreV1().Pods("shop").Get, name)
}

// inProgress waits for the rule's condition.
func (c *cluster) inProgress(rule, reason, message string) {
	c.t.Helper()
	c.eventually("condition of "+rule, func(ctx context.Context) string {
		r, err := c.client.ResourceV1().DeviceTaintRules().Get(ctx, rule, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		got := meta.FindStatusCondition(r.Status.Conditions, "EvictionInProgress")
		if got == nil || got.Reason != reason || got.Message != message || got.ObservedGeneration != r.Generation {
			return fmt.Sprintf("%+v", got)
		}
		return ""
	})
}

// TestDeviceTaintStory drives pods from a device that its driver, and then people, taint.
func TestDeviceTaintStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	c.publish()
	if _, err := c.client.ResourceV1().ResourceClaimTemplates("shop").Create(ctx, claimTemplate("gpus"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	told := func(pod, message string) {
		t.Helper()
		c.eventually("event of "+pod, func(ctx context.Context) string {
			return c.eventOf(ctx, "shop", pod, "device-taint-eviction-controller", "DeviceTaintManagerEviction", message)
		})
	}
	hour := resourcev1.DeviceToleration{Key: "hot", Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute, TolerationSeconds: ptr(int64(3600))}
	c.runWithDevice("web")
	c.runWithDevice("patient", hour)
	rules := c.client.ResourceV1().DeviceTaintRules()
	rule := &resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "dry"}, Spec: resourcev1.DeviceTaintRuleSpec{
		DeviceSelector: &resourcev1.DeviceTaintSelector{Driver: ptr("gpu.example.com")}, Taint: resourcev1.DeviceTaint{Key: "broken", Effect: resourcev1.DeviceTaintEffectNone},
	}}
	if _, err := rules.Create(ctx, rule, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.inProgress("dry", "NoEffect", "1 published device selected. 2 allocated devices selected. 2 pods would be evicted in 1 namespace if the effect was NoExecute. "+
		"This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.")

	c.publish("hot")
	told("web", "Marking for deletion")
	c.ends("web")
	c.publish()
	told("patient", "Cancelling deletion")
	if _, err := c.client.CoreV1().Pods("shop").Get(ctx, "patient", metav1.GetOptions{}); err != nil {
		t.Errorf("the patient pod: %v", err)
	}

	rule.Name, rule.Spec.Taint.Effect = "wet", resourcev1.DeviceTaintEffectNoExecute
	watch, err := c.client.CoreV1().Pods("shop").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=patient"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if _, err := rules.Create(ctx, rule, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.ends("patient")
	marked := false
	for e := range watch.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == "DELETED" {
			break
		}
		for _, condition := range pod.Status.Conditions {
			marked = marked || condition.Type == corev1.DisruptionTarget && condition.Reason == "DeletionByDeviceTaintManager" && condition.Message == "Device Taint manager: deleting due to NoExecute taint"
		}
	}
	if !marked {
		t.Error("the pod was not marked")
	}
	c.inProgress("wet", "Completed", "1 pod evicted since starting the controller.")
}

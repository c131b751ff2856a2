package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func deviceClaimSpec() resourcev1.ResourceClaimSpec {
	return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
		Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
	}}}}
}

func claimTemplate(name string) *resourcev1.ResourceClaimTemplate {
	return &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceClaimTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tier": "fast"}}, Spec: deviceClaimSpec(),
	}}
}

// deviceResult is the device that the tests give to claims.
func deviceResult() resourcev1.DeviceRequestAllocationResult {
	return resourcev1.DeviceRequestAllocationResult{Request: "one", Driver: "gpu.example.com", Pool: nodeName, Device: "gpu-0"}
}

// allocate gives the claim its device, as the scheduler does.
func (c *cluster) allocate(namespace, name string, result resourcev1.DeviceRequestAllocationResult) {
	c.t.Helper()
	claims := c.client.ResourceV1().ResourceClaims(namespace)
	c.eventually("allocation", func(ctx context.Context) string {
		claim, err := claims.Get(ctx, name, metav1.GetOptions{})
		if err == nil && !slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
			claim.Finalizers = append(claim.Finalizers, resourcev1.Finalizer)
			claim, err = claims.Update(ctx, claim, metav1.UpdateOptions{})
		}
		if err == nil {
			claim.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{result}}}
			_, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

func devicePod(name string, claims ...corev1.PodResourceClaim) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template(nil, "v1").Spec}
	pod.Spec.ResourceClaims = claims
	for _, c := range claims {
		pod.Spec.Containers[0].Resources.Claims = append(pod.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: c.Name})
	}
	return pod
}

// madeClaim waits for the claim that was made for the pod's only one.
func (c *cluster) madeClaim(namespace, pod string) (name string) {
	c.t.Helper()
	c.eventually("claim of "+pod, func(ctx context.Context) string {
		p, err := c.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil || len(p.Status.ResourceClaimStatuses) != 1 {
			return fmt.Sprintf("%v, %v", p.Status.ResourceClaimStatuses, err)
		}
		name = *p.Status.ResourceClaimStatuses[0].ResourceClaimName
		return ""
	})
	return name
}

// TestResourceClaimStory runs a pod with one claim of a template and one of a user, from its start to its end.
func TestResourceClaimStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	claims, pods := c.client.ResourceV1().ResourceClaims("shop"), c.client.CoreV1().Pods("shop")
	if _, err := claims.Create(ctx, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "shared"}, Spec: deviceClaimSpec()}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := pods.Create(ctx, devicePod("web",
		corev1.PodResourceClaim{Name: "gpu", ResourceClaimTemplateName: ptr("gpus")}, corev1.PodResourceClaim{Name: "other", ResourceClaimName: ptr("shared")}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `PodResourceClaim gpu: resource claim template "gpus": resourceclaimtemplate.resource.k8s.io "gpus" not found`
	c.eventually("event", func(ctx context.Context) string {
		return c.eventOf(ctx, "shop", "web", "resource_claim", "FailedResourceClaimCreation", want)
	})
	if _, err := c.client.ResourceV1().ResourceClaimTemplates("shop").Create(ctx, claimTemplate("gpus"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	name := c.madeClaim("shop", "web")
	claim, err := claims.Get(ctx, name, metav1.GetOptions{})
	if err != nil || !metav1.IsControlledBy(claim, pod) || !strings.HasPrefix(name, "web-gpu-") || claim.Labels["tier"] != "fast" || claim.Annotations["resource.kubernetes.io/pod-claim-name"] != "gpu" {
		t.Errorf("claim %+v, %v", claim, err)
	}
	for _, n := range []string{name, "shared"} {
		c.allocate("shop", n, deviceResult())
		c.eventually("reservation of "+n, func(ctx context.Context) string {
			claim, err := claims.Get(ctx, n, metav1.GetOptions{})
			if err != nil || len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != pod.UID {
				return fmt.Sprintf("%+v, %v", claim.Status, err)
			}
			return ""
		})
	}
	if list, err := claims.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 2 {
		t.Errorf("%d claims, %v", len(list.Items), err)
	}
	if err := pods.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the user's claim is free", func(ctx context.Context) string {
		claim, err := claims.Get(ctx, "shared", metav1.GetOptions{})
		if err != nil || len(claim.Status.ReservedFor) > 0 || claim.Status.Allocation != nil || len(claim.Finalizers) > 0 {
			return fmt.Sprintf("%+v, %v", claim, err)
		}
		return ""
	})
	gone(c, "end of the pod's claim", claims.Get, name)
}

// TestResourceClaimOfFinishedPod ends the claim of a pod that has finished, and makes a deleted one again.
func TestResourceClaimOfFinishedPod(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	claims := c.client.ResourceV1().ResourceClaims("shop")
	if _, err := c.client.ResourceV1().ResourceClaimTemplates("shop").Create(ctx, claimTemplate("gpus"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.CoreV1().Pods("shop").Create(ctx, devicePod("web", corev1.PodResourceClaim{Name: "gpu", ResourceClaimTemplateName: ptr("gpus")}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	first := c.madeClaim("shop", "web")
	if err := claims.Delete(ctx, first, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var second string
	c.eventually("another claim", func(context.Context) string {
		if second = c.madeClaim("shop", "web"); second == first {
			return "the first one's name is still there"
		}
		return ""
	})
	kind, patch := merge(`{"status":{"phase":"Succeeded"}}`)
	c.eventually("running pod", func(ctx context.Context) string {
		if p, err := c.client.CoreV1().Pods("shop").Get(ctx, "web", metav1.GetOptions{}); err != nil || p.Status.Phase != corev1.PodRunning {
			return fmt.Sprint(err)
		}
		return ""
	})
	if _, err := c.client.CoreV1().Pods("shop").Patch(ctx, "web", kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the claim", claims.Get, second)
	if _, err := c.client.CoreV1().Pods("shop").Get(ctx, "web", metav1.GetOptions{}); err != nil {
		t.Errorf("the finished pod is gone: %v", err)
	}
}

// eventOf answers "" if the object of that name has such an event, else what there is.
func (c *cluster) eventOf(ctx context.Context, namespace, object, component, reason, message string) string {
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
	return strings.Join(seen, "\n")
}

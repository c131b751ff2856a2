package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"skiff/controllers"
	"skiff/test/control"
)

// scaling is a cluster whose autoscalers see a load and a clock.
func scaling(t *testing.T) (*cluster, *control.Load, *control.Clock) {
	t.Helper()
	now := control.NewClock(time.Now())
	l := control.NewLoad(now)
	l.Set("shop", 0)
	c := newClusterWith(t, func(d *controllers.Deps) {
		d.Clock, d.ClientConfig = now, l.Behind(d.ClientConfig)
	}, func(cfg *controllers.Config) {
		cfg.NodeMonitorGrace, cfg.NodeStartupGrace = 1000*time.Hour, 1000*time.Hour // the node shows that it lives by another clock
		cfg.Autoscaling.Period = 50 * time.Millisecond                              // rounds follow one another; what they see is up to the clock
	})
	return c, l, now
}

func autoscaler(name, kind, version, target string, most int32) *autoscalingv2.HorizontalPodAutoscaler {
	half := int32(50)
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: kind, APIVersion: version, Name: target}, MaxReplicas: most,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &half},
			}}},
		},
	}
}

// conditions waits until an autoscaler's conditions are those: type, status, reason, and the message's start.
func (c *cluster) conditions(name string, want ...string) *autoscalingv2.HorizontalPodAutoscaler {
	c.t.Helper()
	var a *autoscalingv2.HorizontalPodAutoscaler
	c.eventually("conditions of "+name, func(ctx context.Context) string {
		var err error
		if a, err = c.client.AutoscalingV2().HorizontalPodAutoscalers("shop").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		var all []string
		for _, x := range a.Status.Conditions {
			all = append(all, fmt.Sprintf("%s=%s %s: %s", x.Type, x.Status, x.Reason, x.Message))
		}
		got := strings.Join(all, "\n")
		for _, w := range want {
			if !strings.Contains("\n"+got, "\n"+w) {
				return fmt.Sprintf("no %q in\n%s", w, got)
			}
		}
		return ""
	})
	return a
}

func (c *cluster) scaled(name string, replicas int32) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%d pods of %s", replicas, name), func(ctx context.Context) string {
		d, err := c.client.AppsV1().Deployments("shop").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if *d.Spec.Replicas != replicas || d.Status.ReadyReplicas != replicas || d.Status.Replicas != replicas {
			return fmt.Sprintf("%d wanted, %+v", *d.Spec.Replicas, d.Status)
		}
		return ""
	})
}

func (c *cluster) told(name, reason, message string) {
	c.t.Helper()
	c.eventually("event "+reason, func(ctx context.Context) string {
		events, err := c.client.CoreV1().Events("shop").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",reason=" + reason})
		if err != nil {
			return err.Error()
		}
		for _, e := range events.Items {
			if e.Message == message && e.Source.Component == "horizontal-pod-autoscaler" {
				return ""
			}
		}
		return fmt.Sprintf("%+v", events.Items)
	})
}

// TestAutoscalerStory puts load on a Deployment and takes it away.
func TestAutoscalerStory(t *testing.T) {
	c, load, now := scaling(t)
	ctx := t.Context()
	c.namespace("shop")
	two, labels := int32(2), map[string]string{"app": "web"}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "web", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
		}}}},
	}}
	if _, err := c.client.AppsV1().Deployments("shop").Create(ctx, web, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.scaled("web", 2)
	now.Jump(10 * time.Minute) // no pod is starting any more
	load.Set("shop", 200)
	created := metav1.NewTime(now.Now().Truncate(time.Second))
	autoscalers := c.client.AutoscalingV2().HorizontalPodAutoscalers("shop")
	if _, err := autoscalers.Create(ctx, autoscaler("web", "Deployment", "apps/v1", "web", 8), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.scaled("web", 4)
	c.told("web", "SuccessfulRescale", "New size: 4; reason: cpu resource utilization (percentage of request) above target")
	a := c.conditions("web",
		"AbleToScale=True ReadyForNewScale: recommended size matches current size",
		"ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)",
		"ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range",
		"ScaledToZero=False NotScaledToZero: the HPA controller did not scale the workload to zero",
	)
	current := a.Status.CurrentMetrics[0].Resource.Current
	if a.Status.CurrentReplicas != 4 || a.Status.DesiredReplicas != 4 || *a.Status.ObservedGeneration != a.Generation || a.Status.LastScaleTime.Before(&created) || a.Status.LastScaleTime.After(now.Now()) {
		t.Errorf("status %+v", a.Status)
	}
	if *current.AverageUtilization != 50 || current.AverageValue.String() != "50m" {
		t.Errorf("metric %+v", current)
	}

	load.Set("shop", 40)
	c.conditions("web", "AbleToScale=True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent recommendation")
	c.scaled("web", 4)
	now.Jump(5*time.Minute + time.Second)
	c.scaled("web", 1)
	c.told("web", "SuccessfulRescale", "New size: 1; reason: All metrics below target")
	c.conditions("web", "AbleToScale=True ReadyForNewScale")

	if _, err := autoscalers.Create(ctx, autoscaler("also", "Deployment", "apps/v1", "web", 8), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "also"} {
		c.conditions(name, "ScalingActive=False AmbiguousSelector: pods by selector app=web are controlled by more than one HPA (e.g. [shop/also shop/web])")
	}
	if err := autoscalers.Delete(ctx, "also", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.conditions("web", "ScalingActive=True ValidMetricFound")
}

// TestAutoscalerOfCustomResource scales what was not known when its autoscaler came.
func TestAutoscalerOfCustomResource(t *testing.T) {
	c, _, now := scaling(t)
	ctx := t.Context()
	c.namespace("shop")
	autoscalers := c.client.AutoscalingV2().HorizontalPodAutoscalers("shop")
	if _, err := autoscalers.Create(ctx, autoscaler("fleet", "Fleet", "sea.example.com/v1", "north", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const unknown = `no matches for kind "Fleet" in group "sea.example.com"`
	c.conditions("fleet", "AbleToScale=False FailedGetScale: the HPA controller was unable to get the target's current scale: "+unknown)
	c.told("fleet", "FailedGetScale", unknown)
	client := dynamic.NewForConfigOrDie(c.server.Admin())
	kinds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if _, err := client.Resource(kinds).Create(ctx, object(t, fleets), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	north := object(t, `{"apiVersion":"sea.example.com/v1","kind":"Fleet","metadata":{"name":"north"},"spec":{"replicas":3}}`)
	ships := client.Resource(schema.GroupVersionResource{Group: "sea.example.com", Version: "v1", Resource: "fleets"}).Namespace("shop")
	c.eventually("a fleet", func(ctx context.Context) string {
		if _, err := ships.Create(ctx, north, metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	now.Jump(time.Minute)
	c.eventually("a smaller fleet", func(ctx context.Context) string {
		got, err := ships.Get(ctx, "north", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if n, _, err := unstructured.NestedInt64(got.Object, "spec", "replicas"); n != 2 || err != nil {
			return fmt.Sprintf("%v, %v", got.Object, err)
		}
		return ""
	})
	c.told("fleet", "SuccessfulRescale", "New size: 2; reason: Current number of replicas above Spec.MaxReplicas")
	c.conditions("fleet", "AbleToScale=True", "ScalingActive=False InvalidSelector: the HPA target's scale is missing a selector")
	if _, err := autoscalers.Create(ctx, autoscaler("again", "Fleet", "sea.example.com/v1", "north", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.told("again", "SelectorRequired", "selector is required")
}

const fleets = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"fleets.sea.example.com"},"spec":{
	"group":"sea.example.com","scope":"Namespaced","names":{"plural":"fleets","singular":"fleet","kind":"Fleet"},
	"versions":[{"name":"v1","served":true,"storage":true,
		"schema":{"openAPIV3Schema":{"type":"object","properties":{
			"spec":{"type":"object","properties":{"replicas":{"type":"integer"}}},"status":{"type":"object","properties":{"replicas":{"type":"integer"}}}}}},
		"subresources":{"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas"}}}]}}`

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return o
}

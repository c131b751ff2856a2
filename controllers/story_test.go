package controllers_test

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func ptr[T any](v T) *T { return &v }

func template(labels map[string]string, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: ptr[int64](0),
			Containers: []corev1.Container{{Name: "main", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 5000, Protocol: corev1.ProtocolTCP}}}},
		},
	}
}

func newDeployment(namespace, name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "v1"),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr(intstr.FromInt32(1)), MaxUnavailable: ptr(intstr.FromInt32(0)),
			}},
			RevisionHistoryLimit: ptr[int32](10), ProgressDeadlineSeconds: ptr[int32](600),
		},
	}
}

// rolledOut checks that every pod of the deployment is of the image and ready.
func (c *cluster) rolledOut(namespace, name, image string, replicas int32) {
	c.t.Helper()
	c.eventually("rollout of "+image, func(ctx context.Context) string {
		d, err := c.client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != replicas || s.Replicas != replicas || s.AvailableReplicas != replicas {
			return fmt.Sprintf("generation %d, status %+v", d.Generation, s)
		}
		n := 0
		for _, p := range c.pods(ctx, namespace) {
			if p.Labels["app"] == name && p.DeletionTimestamp == nil {
				if p.Spec.Containers[0].Image != image {
					return p.Name + " runs " + p.Spec.Containers[0].Image
				}
				n++
			}
		}
		if n != int(replicas) {
			return fmt.Sprintf("%d pods", n)
		}
		return ""
	})
}

func TestDeploymentStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	deployments := c.client.AppsV1().Deployments("shop")
	if _, err := deployments.Create(ctx, newDeployment("shop", "web", 3), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.rolledOut("shop", "web", "v1", 3)

	kind, patch := merge(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"v2"}]}}}}`)
	if _, err := deployments.Patch(ctx, "web", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.rolledOut("shop", "web", "v2", 3)
	d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "2" {
		t.Errorf("revision is %q, want 2", got)
	}
	kind, patch = merge(`{"spec":{"replicas":5}}`)
	if _, err := deployments.Patch(ctx, "web", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.rolledOut("shop", "web", "v2", 5)

	victim := c.pods(ctx, "shop")[0].Name
	if err := c.client.CoreV1().Pods("shop").Delete(ctx, victim, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("replacement", func(ctx context.Context) string {
		n := 0
		for _, p := range c.pods(ctx, "shop") {
			if p.Name != victim && p.DeletionTimestamp == nil {
				n++
			}
		}
		if n != 5 {
			return fmt.Sprintf("%d pods", n)
		}
		return ""
	})
	if err := deployments.Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationBackground)}); err != nil {
		t.Fatal(err)
	}
	c.eventually("collection of all dependents", func(ctx context.Context) string {
		sets, err := c.client.AppsV1().ReplicaSets("shop").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		if n, m := len(sets.Items), len(c.pods(ctx, "shop")); n+m > 0 {
			return fmt.Sprintf("%d replica sets and %d pods are left", n, m)
		}
		return ""
	})
}

func TestServiceStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	if _, err := c.client.AppsV1().Deployments("shop").Create(ctx, newDeployment("shop", "web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.7.7", ClusterIPs: []string{"10.96.7.7"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
		},
	}
	if _, err := c.client.CoreV1().Services("shop").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("slice with two ready endpoints", func(ctx context.Context) string {
		slices, err := c.client.DiscoveryV1().EndpointSlices("shop").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		if err != nil || len(slices.Items) != 1 {
			return fmt.Sprintf("%d slices, %v", len(slices.Items), err)
		}
		ready := 0
		for _, e := range slices.Items[0].Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready++
			}
		}
		if ready != 2 || *slices.Items[0].Ports[0].Port != 5000 {
			return fmt.Sprintf("%+v", slices.Items[0])
		}
		return ""
	})
}

func TestNamespaceStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	c.eventually("service account and certificates", func(ctx context.Context) string {
		if _, err := c.client.CoreV1().ServiceAccounts("shop").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		m, err := c.client.CoreV1().ConfigMaps("shop").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if m.Data["ca.crt"] != string(c.server.PKI.CA()) {
			return m.Data["ca.crt"]
		}
		return ""
	})
	for i := range 3 {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("other-%d", i)}}
		if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("pod ranges", func(ctx context.Context) string {
		nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		seen := map[string]bool{}
		for _, n := range nodes.Items {
			seen[n.Spec.PodCIDR] = true
		}
		if len(seen) != 4 || seen[""] {
			return fmt.Sprint(seen)
		}
		return ""
	})
}

func TestNamespaceEnds(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	if _, err := c.client.AppsV1().Deployments("shop").Create(ctx, newDeployment("shop", "web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.rolledOut("shop", "web", "v1", 2)
	if err := c.client.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("end of the namespace", func(ctx context.Context) string {
		ns, err := c.client.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("%+v, %v", ns.Status, err)
	})
}

func TestTokenStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	secrets := c.client.CoreV1().Secrets("shop")
	if _, err := c.client.CoreV1().ServiceAccounts("shop").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "ci"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "ci-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "ci"}}, Type: corev1.SecretTypeServiceAccountToken,
	}
	if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("token", func(ctx context.Context) string {
		s, err := secrets.Get(ctx, "ci-token", metav1.GetOptions{})
		if err != nil || string(s.Data["token"]) != "ci by ci-token" || string(s.Data["namespace"]) != "shop" || string(s.Data["ca.crt"]) != string(c.server.PKI.CA()) {
			return fmt.Sprintf("%v, %v", s.Data, err)
		}
		return ""
	})
	if err := c.client.CoreV1().ServiceAccounts("shop").Delete(ctx, "ci", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the token", secrets.Get, "ci-token")
}

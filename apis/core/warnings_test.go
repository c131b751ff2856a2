package core_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// heard collects the warnings that a client is given.
type heard struct {
	mu    sync.Mutex
	texts []string
}

func (h *heard) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
}

// TestWarnings expects warnings in the answers, each once: on a create, and on an
// update that changes the spec.
func TestWarnings(t *testing.T) {
	h := &heard{}
	cfg := env.Start(t, env.Options{}).Admin()
	cfg.WarningHandlerWithContext = h
	c, ctx := kubernetes.NewForConfigOrDie(cfg), t.Context()
	expect := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !slices.Equal(h.texts, want) {
			t.Errorf("%s: got %q, want %q", what, h.texts, want)
		}
		h.texts = nil
	}
	s := service("s", corev1.ServiceTypeClusterIP)
	s.Spec.ClusterIP, s.Spec.SessionAffinity, s.Spec.ExternalName = "None", corev1.ServiceAffinityClientIP, "x"
	_, err := c.CoreV1().Services("default").Create(ctx, s, metav1.CreateOptions{})
	expect("service", err, "spec.SessionAffinity is ignored for headless services", `spec.externalName is ignored when spec.type is not "ExternalName"`)

	labels := map[string]string{"a": "b"}
	const old = `spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}}}
	d.Spec.Template.Labels, d.Spec.Template.Spec = labels, corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}, NodeSelector: map[string]string{"beta.kubernetes.io/os": "linux"}}
	d, err = c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{})
	expect("deployment", err, old)
	d.Labels = labels
	d, err = c.AppsV1().Deployments("default").Update(ctx, d, metav1.UpdateOptions{})
	expect("labels of a deployment", err)
	d.Spec.Template.Spec.Containers[0].Image = "j"
	_, err = c.AppsV1().Deployments("default").Update(ctx, d, metav1.UpdateOptions{})
	expect("template of a deployment", err, old)

	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{DoNotUseExternalID: "x"}}
	_, err = c.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	expect("node", err, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
}

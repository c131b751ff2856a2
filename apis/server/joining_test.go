package server_test

import (
	"context"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server"
	"skiff/test/env"
)

// TestJoiningRights asks what tokens, joined nodes and their other parts may, and what they may not.
func TestJoiningRights(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.NodeConfig = map[string]string{"cluster-cidr": "10.244.0.0/16"} }})
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m, err := admin.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "skiff-node-config", metav1.GetOptions{})
		if err == nil && m.Data["cluster-cidr"] == "10.244.0.0/16" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the settings of nodes: %v", err)
		}
	}
	const token, node, agent = "system:bootstrappers:skiff:default-node-token", "system:nodes", "skiff:agents"
	users := map[string]string{token: "system:bootstrap:abcdef", node: "system:node:a", agent: "skiff:agent:a"}
	for _, tt := range []struct {
		group, verb, apiGroup, resource, sub, namespace, name string
		want                                                  bool
	}{
		{token, "create", "certificates.k8s.io", "certificatesigningrequests", "", "", "", true},
		{token, "create", "certificates.k8s.io", "certificatesigningrequests", "nodeclient", "", "", true},
		{token, "create", "certificates.k8s.io", "certificatesigningrequests", "selfnodeclient", "", "", false},
		{token, "get", "", "nodes", "", "", "a", true},
		{token, "list", "", "nodes", "", "", "", false},
		{token, "get", "", "configmaps", "", "kube-system", "skiff-node-config", false},
		{token, "list", "", "pods", "", "", "", false},
		{node, "create", "certificates.k8s.io", "certificatesigningrequests", "selfnodeclient", "", "", true},
		{node, "get", "", "configmaps", "", "kube-system", "skiff-node-config", true},
		{node, "update", "", "configmaps", "", "kube-system", "skiff-node-config", false},
		{node, "get", "", "configmaps", "", "kube-system", "extension-apiserver-authentication", false},
		{node, "list", "", "pods", "", "", "", false},
		{node, "list", "", "secrets", "", "", "", false},
		{agent, "watch", "", "pods", "", "", "", true},
		{agent, "list", "networking.k8s.io", "networkpolicies", "", "", "", true},
		{agent, "watch", "discovery.k8s.io", "endpointslices", "", "", "", true},
		{agent, "list", "", "nodes", "", "", "", true},
		{agent, "list", "", "secrets", "", "", "", false},
		{agent, "list", "", "configmaps", "", "", "", false},
		{agent, "update", "", "nodes", "", "", "a", false},
		{agent, "create", "", "pods", "", "default", "", false},
		{agent, "create", "certificates.k8s.io", "certificatesigningrequests", "", "", "", false},
	} {
		if got := mayDo(t.Context(), t, admin, users[tt.group], tt.group, &authorizationv1.ResourceAttributes{
			Verb: tt.verb, Group: tt.apiGroup, Version: "*", Resource: tt.resource, Subresource: tt.sub, Namespace: tt.namespace, Name: tt.name,
		}); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func mayDo(ctx context.Context, t *testing.T, admin kubernetes.Interface, user, group string, what *authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: []string{group, "system:authenticated"}, ResourceAttributes: what},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

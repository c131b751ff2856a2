package networking

import (
	"context"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

func backend() networkingv1.IngressBackend {
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}
}

func TestIngressPaths(t *testing.T) {
	exact, free := networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific
	for path, c := range map[string]struct {
		kind *networkingv1.PathType
		want string
	}{
		"/a": {&exact, ""}, "a": {&exact, "must be an absolute path"}, "/a//b": {&exact, "must not contain '//'"},
		"/a/..": {&exact, "cannot end with '/..'"}, "/%2F": {&exact, "must not contain '%2F'"}, "": {&free, ""}, "/x//y": {&free, ""}, "/n": {nil, "pathType must be specified"},
	} {
		i := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: c.kind, Backend: backend()}}},
		}}}}}
		got := validateIngress(context.Background(), i, nil).ToAggregate()
		if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%q: got %v, want %q", path, got, c.want)
		}
	}
}

func TestIPBlocks(t *testing.T) {
	for name, c := range map[string]struct {
		block networkingv1.IPBlock
		want  string
	}{
		"inside":       {networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}, ""},
		"same":         {networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.0.0.0/8"}}, "strict subset"},
		"other family": {networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"fd00::/64"}}, "strict subset"},
		"none":         {networkingv1.IPBlock{}, "Required"},
	} {
		got := validateIPBlock(&c.block, nil).ToAggregate()
		if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
}

func TestNetworkPolicyDefaults(t *testing.T) {
	for egress, want := range map[int]int{0: 1, 1: 2} {
		p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: make([]networkingv1.NetworkPolicyEgressRule, egress)}}
		defaultNetworkPolicy(p)
		if len(p.Spec.PolicyTypes) != want {
			t.Errorf("%d egress rules: %v", egress, p.Spec.PolicyTypes)
		}
	}
}

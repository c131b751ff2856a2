package fuzz

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/nft"
	"skiff/kubelet/policy"
)

// FuzzNetworkPolicy plans whatever can be written down as a NetworkPolicy, before and after pods are known: the plan is
// the same, it names nothing that it doesn't have, and nothing of it is left when the policy is gone.
func FuzzNetworkPolicy(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"podSelector":{},"policyTypes":["Ingress","Egress"]}`, `{"podSelector":{"matchLabels":{"app":"a"}},"ingress":[{}]}`,
		`{"ingress":[{"from":[{"podSelector":{}},{"namespaceSelector":{"matchExpressions":[{"key":"a","operator":"NotIn","values":["b"]}]},"podSelector":{"matchLabels":{"app":"a"}}}],"ports":[{"protocol":"UDP","port":"dns"},{"port":80,"endPort":90}]}]}`,
		`{"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0","except":["10.0.0.0/8","10.1.0.0/16","::/0"]}},{"ipBlock":{"cidr":"::ffff:10.0.0.0/104"}},{"ipBlock":{"cidr":"fd00::/8","except":["fd00::1/128"]}}],"ports":[{"protocol":"SCTP"},{"protocol":"X","port":1},{"port":-1},{"port":70000},{"port":9,"endPort":8},{"port":""}]}]}`,
		`{"ingress":[{"from":[{}]},{"from":[{"ipBlock":{"cidr":"x","except":["y"]}}]},{"from":[{"podSelector":{"matchExpressions":[{"operator":"?"}]}}]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, spec []byte) {
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
		if json.Unmarshal(spec, &p.Spec) != nil {
			t.Skip()
		}
		at := policy.Name{Namespace: "default", Name: "p"}
		first, last := policy.NewBook("node", []nft.Family{nft.IPv4, nft.IPv6}), policy.NewBook("node", []nft.Family{nft.IPv4, nft.IPv6})
		first.SetPolicy(at, p)
		meet(first)
		meet(last)
		last.SetPolicy(at, p)
		if a, b := contents(t, first), contents(t, last); !reflect.DeepEqual(a, b) {
			t.Errorf("told first: %v\ntold last: %v", a, b)
		}
		first.SetPolicy(at, nil)
		if left := first.Content(); !left.Empty() {
			t.Errorf("left without the policy: %+v", left)
		}
	})
}

// meet tells the book of pods here and elsewhere.
func meet(b *policy.Book) {
	for _, name := range []string{"default", "other"} {
		b.SetNamespace(name, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}}})
		for i, node := range []string{"node", "node", "elsewhere"} {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: fmt.Sprint(i), Labels: map[string]string{"app": string(rune('a' + i))}},
				Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
					{Name: "http", ContainerPort: 80}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
				}}}},
				Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.%d.0.%d", len(name), i)}, {IP: fmt.Sprintf("fd00::%d:%d", len(name), i)}}},
			}
			b.SetPod(policy.Name{Namespace: name, Name: pod.Name}, pod, nil)
		}
	}
}

// contents lists what the book wants the kernel to have, in order.
func contents(t *testing.T, b *policy.Book) (out []string) {
	t.Helper()
	content := b.Content()
	chains, sets := map[string]bool{}, map[string]bool{}
	for f, all := range content.AddedChains {
		for _, c := range all {
			chains[fmt.Sprint(f, c.Name)] = true
			out = append(out, fmt.Sprint(f, c))
		}
	}
	for f, all := range content.AddedSets {
		for _, s := range all {
			sets[fmt.Sprint(f, s.Name)] = true
			out = append(out, fmt.Sprint(f, s.Set, s.Prefixes, s.Elements))
		}
	}
	for _, e := range content.Elements.Added {
		always := slices.Contains([]nft.SetName{policy.Ingress, policy.Egress, policy.Self, policy.Guarded}, e.ID.Map)
		if !always && !sets[fmt.Sprint(e.ID.Family, e.ID.Map)] || e.Value.Chain != "" && !chains[fmt.Sprint(e.ID.Family, e.Value.Chain)] {
			t.Errorf("%+v leads to nothing", e)
		}
		out = append(out, fmt.Sprint(e))
	}
	slices.Sort(out)
	return out
}

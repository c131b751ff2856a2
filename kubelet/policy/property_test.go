package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"skiff/kubelet/nft"
	"skiff/kubelet/nft/nfttest"
)

// TestHistories: whatever comes and goes, in whatever order, each transaction leads from what the kernel has to what is
// wanted, and packets fare as the API's documentation says.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book, world := NewBook(testNode, families), newTables()
		truth := oracle{pods: map[Name]*corev1.Pod{}, namespaces: map[string]*corev1.Namespace{}, policies: map[Name]*networkingv1.NetworkPolicy{}}
		book.Committed() // empty tables
		for range rapid.IntRange(1, 10).Draw(t, "transactions") {
			for range rapid.IntRange(1, 5).Draw(t, "events") {
				drawEvent(t, book, truth)
			}
			if err := world.apply(book.Changes()); err != nil {
				t.Fatal(err)
			}
			book.Committed()
			wanted := newTables()
			if err := wanted.apply(book.Content()); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(world, wanted) {
				t.Fatalf("the kernel has %+v, wanted is %+v", world, wanted)
			}
			for range 20 {
				p := drawPacket(t)
				got := newTracer(familyOf(p.Src), book.Content()).Send(p).Chain("forward") != nft.Drop
				if want := truth.permits(p); got != want {
					t.Fatalf("%+v: let through: %v, should be: %v", p, got, want)
				}
			}
		}
	})
}

func choice[T any](t *rapid.T, what string, all ...T) T { return rapid.SampledFrom(all).Draw(t, what) }

func drawLabels(t *rapid.T) string { return choice(t, "labels", "", "app=x", "app=y", "app=x,tier=z") }

func drawSelector(t *rapid.T) *metav1.LabelSelector {
	return choice(t, "selector", &metav1.LabelSelector{}, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}},
		&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}},
		&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}})
}

func drawEvent(t *rapid.T, book *Book, truth oracle) {
	gone := choice(t, "gone", false, false, true)
	switch namespace := choice(t, "namespace", "a", "b"); choice(t, "kind", "pod", "pod", "policy", "policy", "namespace") {
	case "namespace":
		n := newTestNamespace(namespace, drawLabels(t))
		truth.namespaces[namespace] = n
		if gone {
			n = nil
			delete(truth.namespaces, namespace)
		}
		book.SetNamespace(namespace, n)
	case "policy":
		p := drawPolicy(t, namespace)
		truth.policies[nameOf(p)] = p
		if at := nameOf(p); gone {
			delete(truth.policies, at)
			book.SetPolicy(at, nil)
		} else {
			book.SetPolicy(at, p)
		}
	default:
		p := drawPod(t, namespace)
		truth.pods[nameOf(p)] = p
		if at := nameOf(p); gone {
			delete(truth.pods, at)
			book.SetPod(at, nil, nil)
		} else {
			book.SetPod(at, p, nil)
		}
	}
}

// drawPod: each name has addresses of its own, or none.
func drawPod(t *rapid.T, namespace string) *corev1.Pod {
	i := rapid.IntRange(1, 3).Draw(t, "pod")
	if namespace == "b" {
		i += 3
	}
	addrs := choice(t, "addresses", "10.0.0.%d", "10.0.0.%d,fd00::%d", "fd00::%d", "")
	addrs = strings.ReplaceAll(addrs, "%d", fmt.Sprint(i))
	p := newTestPod(fmt.Sprintf("%s/p%d", namespace, i), choice(t, "node", testNode, testNode, "node-b"), drawLabels(t), addrs)
	p.UID = types.UID(choice(t, "uid", "1", "2"))
	p.Spec.HostNetwork = choice(t, "host network", false, false, false, true)
	p.Status.Phase = choice(t, "phase", corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded, corev1.PodPending)
	p.Spec.Containers[0].Ports[0].ContainerPort = choice(t, "http", int32(80), int32(81))
	return p
}

func drawPolicy(t *rapid.T, namespace string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: choice(t, "policy", "p", "q")}}
	p.Spec.PodSelector = *drawSelector(t)
	p.Spec.PolicyTypes = choice(t, "types", []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress})
	for range rapid.IntRange(0, 2).Draw(t, "rules") {
		peers, ports := drawPeers(t), drawPorts(t)
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers, Ports: ports})
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers, Ports: ports})
	}
	return p
}

func drawPeers(t *rapid.T) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range rapid.IntRange(0, 2).Draw(t, "peers") {
		var p networkingv1.NetworkPolicyPeer
		switch choice(t, "peer", "pods", "namespaces", "both", "block") {
		case "pods":
			p.PodSelector = drawSelector(t)
		case "namespaces":
			p.NamespaceSelector = drawSelector(t)
		case "both":
			p.PodSelector, p.NamespaceSelector = drawSelector(t), drawSelector(t)
		default:
			block := choice(t, "block", networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/30", "10.0.0.6/32"}}, networkingv1.IPBlock{CIDR: "10.0.0.4/30"},
				networkingv1.IPBlock{CIDR: "fd00::/64", Except: []string{"fd00::4/126"}}, networkingv1.IPBlock{CIDR: "::/0"}, networkingv1.IPBlock{CIDR: "10.0.0.2/32", Except: []string{"10.0.0.2/32"}})
			p.IPBlock = &block
		}
		out = append(out, p)
	}
	return out
}

func drawPorts(t *rapid.T) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		out = append(out, portOf(choice(t, "port", "tcp", "tcp 80", "tcp http", "tcp http", "tcp http", "udp dns", "tcp 79-80", "tcp 80-90", "udp 1-65535", "sctp 80", "tcp none")))
	}
	return out
}

func drawPacket(t *rapid.T) nfttest.Packet {
	network := choice(t, "network", "10.0.0.", "fd00::")
	end := func(what string) netip.Addr {
		return netip.MustParseAddr(network + fmt.Sprint(rapid.IntRange(1, 7).Draw(t, what)))
	}
	return nfttest.Packet{
		Src: end("source"), Dst: end("destination"), Proto: choice(t, "protocol", uint8(6), uint8(6), uint8(17), uint8(132), uint8(1)),
		Port: choice(t, "port", uint16(80), uint16(80), uint16(53), uint16(81), uint16(79), uint16(91)),
	}
}

// tables is what a kernel has, and refuses to do.
type tables struct {
	Chains   map[chainID]string
	Sets     map[setID]string
	Elements map[nft.ElementID]Value
}

func newTables() *tables {
	return &tables{Chains: map[chainID]string{}, Sets: map[setID]string{}, Elements: map[nft.ElementID]Value{}}
}

// apply does a transaction as the kernel does.
func (k *tables) apply(c Changes) error {
	for _, e := range c.Elements.Removed {
		if old, there := k.Elements[e.ID]; !there || old != e.Value {
			return fmt.Errorf("removes %v, there is %v", e, old)
		}
		delete(k.Elements, e.ID)
	}
	for f, sets := range c.AddedSets {
		for _, s := range sets {
			if _, there := k.Sets[setID{f, s.Name}]; there {
				return fmt.Errorf("adds set %s, which is there", s.Name)
			}
			k.Sets[setID{f, s.Name}] = fmt.Sprint(s.Set, s.Prefixes, s.Elements)
		}
	}
	for f, chains := range c.AddedChains {
		for _, chain := range chains {
			if _, there := k.Chains[chainID{f, chain.Name}]; there {
				return fmt.Errorf("adds chain %s, which is there", chain.Name)
			}
			k.Chains[chainID{f, chain.Name}] = fmt.Sprint(chain.Rules)
		}
	}
	if err := k.add(c.Elements.Added); err != nil {
		return err
	}
	for f, chains := range c.RemovedChains {
		for _, chain := range chains {
			delete(k.Chains, chainID{f, chain.Name})
		}
	}
	for f, names := range c.RemovedSets {
		for _, name := range names {
			delete(k.Sets, setID{f, name})
			maps.DeleteFunc(k.Elements, func(id nft.ElementID, _ Value) bool { return id.Family == f && id.Map == name })
		}
	}
	return k.consistent()
}

func (k *tables) add(elements []Element) error {
	for _, e := range elements {
		if old, there := k.Elements[e.ID]; there {
			return fmt.Errorf("adds %v where there is %v", e, old)
		}
		k.Elements[e.ID] = e.Value
	}
	return nil
}

// consistent: nothing leads to what isn't there, and nothing is there that nothing leads to.
func (k *tables) consistent() error {
	led := map[chainID]bool{}
	for id, v := range k.Elements {
		_, set := k.Sets[setID{id.Family, id.Map}]
		if !set && id.Map != Ingress && id.Map != Egress && id.Map != Self && id.Map != Guarded {
			return fmt.Errorf("element in %s, which isn't there", id.Map)
		}
		if v.Chain != "" {
			led[chainID{id.Family, v.Chain}] = true
		}
	}
	for id := range led {
		if _, there := k.Chains[id]; !there {
			return fmt.Errorf("chain %s is led to, but isn't there", id.name)
		}
	}
	for id := range k.Chains {
		if !led[id] {
			return fmt.Errorf("chain %s is there for nobody", id.name)
		}
	}
	for id := range k.Sets {
		used := false
		for at, rules := range k.Chains {
			used = used || at.family == id.family && strings.Contains(rules, string(id.name))
		}
		if !used {
			return fmt.Errorf("set %s is there for nobody", id.name)
		}
	}
	return nil
}

// TestCostOfChanges: a pod that comes is a few elements, however many there are already.
func TestCostOfChanges(t *testing.T) {
	cost := func(pods int) (elements, objects int) {
		b := NewBook(testNode, families)
		fill(b, append(testCluster(), policies(t, "podSelector: {}\ningress: [{from: [{podSelector: {}}], ports: [{port: http}]}]")...)...)
		for i := range pods {
			fill(b, newTestPod(fmt.Sprintf("default/p%d", i), testNode, "app=web", fmt.Sprintf("10.1.%d.%d", i/250, i%250)))
		}
		b.Committed()
		fill(b, newTestPod("default/new", testNode, "app=web", "10.2.0.1"))
		c := b.Changes()
		return len(c.Elements.Added) + len(c.Elements.Removed), len(c.AddedChains) + len(c.AddedSets) + len(c.RemovedChains) + len(c.RemovedSets)
	}
	few, none := cost(1)
	many, still := cost(1000)
	if few != many || few != 4 || none != 0 || still != 0 { // isolated, itself, a peer, a named port
		t.Errorf("%d elements and %d chains or sets for a pod among few, %d and %d among many", few, none, many, still)
	}
}

package policy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// testNode is the node that tests plan for.
const testNode = "node-a"

// newTestPod makes a running pod "NAMESPACE/NAME" on the node with labels "k=v,k=v" and addresses "A,B". It has a TCP
// port 80 named http and a UDP port 53 named dns.
func newTestPod(name, node, labels, addrs string) *corev1.Pod {
	namespace, name, _ := strings.Cut(name, "/")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "-" + name), Labels: parseLabels(labels)},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: 80}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for ip := range strings.SplitSeq(addrs, ",") {
		if ip != "" {
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
			pod.Status.PodIP = pod.Status.PodIPs[0].IP
		}
	}
	return pod
}

func newTestNamespace(name, labels string) *corev1.Namespace {
	l := parseLabels(labels)
	l["kubernetes.io/metadata.name"] = name
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l}}
}

func parseLabels(text string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			out[k] = v
		}
	}
	return out
}

// newTestPolicy reads a policy's spec from YAML, as users write it.
func newTestPolicy(t testing.TB, name, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	namespace, name, _ := strings.Cut(name, "/")
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(spec, "\t", "  ")), &p.Spec); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, spec)
	}
	return p
}

// portOf reads "PROTOCOL PORT", "PROTOCOL FIRST-LAST", "PROTOCOL NAME" or "PROTOCOL".
func portOf(text string) networkingv1.NetworkPolicyPort {
	protocol, port, _ := strings.Cut(text, " ")
	out := networkingv1.NetworkPolicyPort{Protocol: new(corev1.Protocol(strings.ToUpper(protocol)))}
	first, last, ranged := strings.Cut(port, "-")
	switch number, err := strconv.Atoi(first); {
	case port == "":
	case err != nil:
		out.Port = new(intstr.FromString(port))
	default:
		out.Port = new(intstr.FromInt32(int32(number)))
		if end, err := strconv.Atoi(last); ranged && err == nil {
			out.EndPort = new(int32(end))
		}
	}
	return out
}

func nameOf(o metav1.Object) Name { return Name{o.GetNamespace(), o.GetName()} }

// fill tells a book of everything.
func fill(b *Book, objs ...any) {
	for _, o := range objs {
		switch o := o.(type) {
		case *corev1.Pod:
			b.SetPod(nameOf(o), o, nil)
		case *corev1.Namespace:
			b.SetNamespace(o.Name, o)
		case *networkingv1.NetworkPolicy:
			b.SetPolicy(nameOf(o), o)
		default:
			panic(fmt.Sprintf("%T", o))
		}
	}
}

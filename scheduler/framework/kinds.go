package framework

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
)

// PodKind is the pods on nodes that plugins cannot tell apart when they look for a pod's neighbours: they have the same
// namespace, labels and inter-pod affinity, and are all on their way out or all not. Pods of one ReplicaSet are a kind.
type PodKind struct {
	// Pod is one of them, or was.
	Pod *PodInfo
	// On says where they are, in the order of nodes. Not to be changed.
	On []PodsOn
}

// PodsOn counts pods on the node at an index of Snapshot.Nodes.
type PodsOn struct{ Node, Pods int32 }

// Leaving reports whether the pods are on their way out.
func (k *PodKind) Leaving() bool { return k.Pod.Pod.DeletionTimestamp != nil }

func (k *PodKind) add(node, pods int32) {
	i, ok := slices.BinarySearchFunc(k.On, node, func(on PodsOn, node int32) int { return cmp.Compare(on.Node, node) })
	if !ok {
		k.On = slices.Insert(k.On, i, PodsOn{Node: node})
	}
	if k.On[i].Pods += pods; k.On[i].Pods == 0 {
		k.On = slices.Delete(k.On, i, i+1)
	}
}

// kindOf identifies a pod's kind.
func kindOf(pod *corev1.Pod) unique.Handle[string] {
	key := make([]byte, 0, 256)
	key = append(append(key, pod.Namespace...), 0)
	if pod.DeletionTimestamp != nil {
		key = append(key, 1)
	}
	for _, name := range slices.Sorted(maps.Keys(pod.Labels)) {
		key = append(append(key, name...), 0)
		key = append(append(key, pod.Labels[name]...), 0)
	}
	if a := pod.Spec.Affinity; a != nil {
		key = appendEncoded(key, a.PodAffinity != nil, a.PodAffinity)
		key = appendEncoded(key, a.PodAntiAffinity != nil, a.PodAntiAffinity)
	}
	return unique.Make(string(key))
}

// Demands is what local filters know of a pod: its requests, host ports, node selector, node affinity, tolerations and the
// node that it names. Pods of one ReplicaSet have the same. Extended resources are left out: they aren't judged locally.
func (p *PodInfo) Demands() string {
	spec, r := &p.Pod.Spec, &p.Requests
	key := make([]byte, 0, 256)
	for _, n := range []int64{r.MilliCPU, r.Memory, r.EphemeralStorage, int64(len(p.Ports)), int64(len(spec.NodeSelector))} {
		key = binary.AppendVarint(key, n)
	}
	key = appendText(key, spec.NodeName)
	for _, port := range p.Ports {
		key = binary.AppendVarint(appendText(appendText(key, port.IP), string(port.Protocol)), int64(port.Port))
	}
	for _, name := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		key = appendText(appendText(key, name), spec.NodeSelector[name])
	}
	if a := spec.Affinity; a != nil {
		key = appendEncoded(key, a.NodeAffinity != nil, a.NodeAffinity)
	}
	for i := range spec.Tolerations {
		key = appendEncoded(key, true, &spec.Tolerations[i])
	}
	return string(key)
}

func appendText[T string | []byte](key []byte, text T) []byte {
	return append(binary.AppendUvarint(key, uint64(len(text))), text...)
}

// appendEncoded: the encoding sorts maps, so that equal terms are equal bytes. Encoding into memory fails for no term.
func appendEncoded(key []byte, set bool, terms interface{ Marshal() ([]byte, error) }) []byte {
	key = append(key, 2)
	if !set {
		return key
	}
	encoded, err := terms.Marshal()
	if err != nil {
		return key
	}
	return appendText(key, encoded)
}

// podKinds indexes the pods of a snapshot by kind.
type podKinds map[unique.Handle[string]]*PodKind

// replace brings the index up to date for one node. Versions of a node share most of their pods, in the same order.
func (k podKinds) replace(node int32, before, after []*PodInfo) {
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	for _, p := range after {
		k.add(node, p, 1)
	}
	for _, p := range before {
		k.add(node, p, -1)
	}
}

func (k podKinds) add(node int32, pod *PodInfo, n int32) {
	kind, ok := k[pod.kind]
	if !ok {
		kind = &PodKind{Pod: pod}
		k[pod.kind] = kind
	}
	if kind.add(node, n); len(kind.On) == 0 {
		delete(k, pod.kind)
	}
}

// Topology says in which domain of a topology key every node is.
type Topology struct {
	// Of holds for every node of Snapshot.Nodes an index of Values, -1 when the node lacks the key.
	Of     []int32
	Values []string
}

func newTopology(nodes []*NodeInfo, key string) *Topology {
	t := &Topology{Of: make([]int32, len(nodes))}
	known := map[string]int32{}
	for i, n := range nodes {
		value, ok := n.Node.Labels[key]
		if !ok {
			t.Of[i] = -1
			continue
		}
		at, ok := known[value]
		if !ok {
			at = int32(len(t.Values)) //nolint:gosec // there are fewer nodes than that
			known[value] = at
			t.Values = append(t.Values, value)
		}
		t.Of[i] = at
	}
	return t
}

package cache

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// nodeOrder lists nodes alternating between zones, so that looking at only a part of the nodes still spreads over zones.
type nodeOrder struct {
	zones   []string
	members map[string][]string
	zoneOf  map[string]string
	changed bool
}

func zone(node *corev1.Node) string {
	return node.Labels[corev1.LabelTopologyRegion] + "\x00" + node.Labels[corev1.LabelTopologyZone]
}

func (o *nodeOrder) set(node *corev1.Node) {
	z := zone(node)
	if old, ok := o.zoneOf[node.Name]; ok {
		if old == z {
			return
		}
		o.remove(node.Name)
	}
	if o.zoneOf == nil {
		o.zoneOf, o.members = map[string]string{}, map[string][]string{}
	}
	if len(o.members[z]) == 0 {
		o.zones = append(o.zones, z)
	}
	o.members[z] = append(o.members[z], node.Name)
	o.zoneOf[node.Name] = z
	o.changed = true
}

func (o *nodeOrder) remove(name string) {
	z, ok := o.zoneOf[name]
	if !ok {
		return
	}
	delete(o.zoneOf, name)
	o.members[z] = slices.DeleteFunc(o.members[z], func(n string) bool { return n == name })
	if len(o.members[z]) == 0 {
		delete(o.members, z)
		o.zones = slices.DeleteFunc(o.zones, func(s string) bool { return s == z })
	}
	o.changed = true
}

// list answers the order and whether it changed since the last call.
func (o *nodeOrder) list() ([]string, bool) {
	if !o.changed {
		return nil, false
	}
	o.changed = false
	names := make([]string, 0, len(o.zoneOf))
	for i := 0; len(names) < len(o.zoneOf); i++ {
		for _, z := range o.zones {
			if i < len(o.members[z]) {
				names = append(names, o.members[z][i])
			}
		}
	}
	return names, true
}

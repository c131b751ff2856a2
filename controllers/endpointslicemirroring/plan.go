package endpointslicemirroring

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	endpointsliceutil "k8s.io/endpointslice/util"
	utilnet "k8s.io/utils/net"
)

// Changes is what makes the slices equal the Endpoints.
type Changes struct {
	// Create, Update and Delete are slices to write; Keep those that are right.
	Create, Update, Delete, Keep []*discoveryv1.EndpointSlice
	// Added, Updated and Removed count endpoints.
	Added, Updated, Removed int
	// Skipped counts the addresses that aren't mirrored, Invalid those among them that are no addresses.
	Skipped, Invalid int
	// Packing is how many endpoints each set of ports has, and slices for them.
	Packing map[string]Packing
}

// Packing counts the endpoints of one set of ports and its slices.
type Packing struct{ Endpoints, Slices int }

// group is what one slice mirrors: the addresses of one family that have the same ports.
type group struct {
	ports     []discoveryv1.EndpointPort
	family    discoveryv1.AddressType
	set       endpointsliceutil.EndpointSet
	endpoints []*discoveryv1.Endpoint // in order
}

// Plan answers how the slices, all of them mirrors of the Endpoints, have to change.
func Plan(endpoints *corev1.Endpoints, current []*discoveryv1.EndpointSlice) Changes {
	plan := Changes{Packing: map[string]Packing{}}
	groups := plan.groups(endpoints)
	existing := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range current {
		key := keyOf(s.AddressType, s.Ports)
		existing[key] = append(existing[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		made, deleted := len(plan.Create), len(plan.Delete)
		plan.match(endpoints, groups[key], existing[key])
		count := Packing{Endpoints: groups[key].set.Len(), Slices: len(existing[key]) + len(plan.Create) - made - (len(plan.Delete) - deleted)}
		plan.Packing[key] = count
	}
	for _, key := range slices.Sorted(maps.Keys(existing)) {
		if groups[key] == nil {
			plan.Delete = append(plan.Delete, existing[key]...)
		}
	}
	plan.reuse()
	return plan
}

func keyOf(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	return string(family) + "-" + string(endpointsliceutil.NewPortMapKey(slices.Clone(ports))) // which sorts what it is given
}

// groups answers what is to be mirrored, and counts what is not.
func (plan *Changes) groups(endpoints *corev1.Endpoints) map[string]*group {
	groups := map[string]*group{}
	for _, s := range canonical(endpoints.Subsets) {
		ports := slicePorts(s.Ports)
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			if key := keyOf(family, ports); groups[key] == nil {
				groups[key] = &group{ports: ports, family: family, set: endpointsliceutil.EndpointSet{}}
			}
		}
		added := 0
		add := func(addresses []corev1.EndpointAddress, ready bool) {
			for i := range addresses {
				if added >= capacity {
					return
				}
				endpoint, family, ok := endpointOf(&addresses[i], ready)
				if !ok {
					plan.Invalid++
					continue
				}
				groups[keyOf(family, ports)].add(endpoint)
				added++
			}
		}
		add(s.Addresses, true)
		add(s.NotReadyAddresses, false)
		plan.Skipped += len(s.Addresses) + len(s.NotReadyAddresses) - added
	}
	return groups
}

func (g *group) add(endpoint *discoveryv1.Endpoint) {
	if !g.set.Has(endpoint) {
		g.endpoints = append(g.endpoints, endpoint)
	}
	g.set.Insert(endpoint)
}

// match decides about the slices of one group: at most one is needed.
func (plan *Changes) match(endpoints *corev1.Endpoints, g *group, existing []*discoveryv1.EndpointSlice) {
	if g.set.Len() == 0 {
		plan.Delete = append(plan.Delete, existing...)
		for _, s := range existing {
			plan.Removed += len(s.Endpoints)
		}
		return
	}
	wanted := mirror(endpoints, g)
	if len(existing) == 0 {
		plan.Added += g.set.Len()
		plan.Create = append(plan.Create, wanted)
		return
	}
	first := existing[0]
	plan.Delete = append(plan.Delete, existing[1:]...)
	if added, updated, removed := difference(first, g.set); added+updated+removed > 0 {
		plan.Added, plan.Updated, plan.Removed = plan.Added+added, plan.Updated+updated, plan.Removed+removed
	} else if sameMetadata(first, wanted) {
		plan.Keep = append(plan.Keep, first)
		return
	}
	plan.Update = append(plan.Update, replacing(wanted, first))
}

// difference counts the endpoints of the slice that have to come, change and go.
func difference(slice *discoveryv1.EndpointSlice, wanted endpointsliceutil.EndpointSet) (added, updated, removed int) {
	added = wanted.Len()
	for i := range slice.Endpoints {
		match := wanted.Get(&slice.Endpoints[i])
		switch {
		case match == nil:
			removed++
			continue
		case !endpointsliceutil.EndpointsEqualBeyondHash(match, &slice.Endpoints[i]):
			updated++
		}
		added--
	}
	return added, updated, removed
}

// sameMetadata answers whether the slice carries what its Endpoints do, and belongs to them rather than to some that
// were called so before.
func sameMetadata(slice, wanted *discoveryv1.EndpointSlice) bool {
	stranger := slices.ContainsFunc(slice.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Kind == "Endpoints" && o.Name == wanted.OwnerReferences[0].Name && o.UID != wanted.OwnerReferences[0].UID
	})
	return !stranger && equality.Semantic.DeepEqual(slice.Labels, wanted.Labels) && equality.Semantic.DeepEqual(slice.Annotations, wanted.Annotations)
}

// replacing gives the wanted slice the place of another one.
func replacing(wanted, other *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	wanted.Name, wanted.GenerateName, wanted.ResourceVersion = other.Name, "", other.ResourceVersion
	return wanted
}

// reuse turns a slice to be made and one to be deleted into one to be updated: that is one write, not two.
func (plan *Changes) reuse() {
	var create []*discoveryv1.EndpointSlice
	for _, wanted := range plan.Create {
		i := slices.IndexFunc(plan.Delete, func(s *discoveryv1.EndpointSlice) bool { return s.AddressType == wanted.AddressType })
		if i < 0 {
			create = append(create, wanted)
			continue
		}
		plan.Update = append(plan.Update, replacing(wanted, plan.Delete[i]))
		plan.Delete = slices.Delete(plan.Delete, i, i+1)
	}
	plan.Create = create
}

// mirror answers the slice of the group.
func mirror(endpoints *corev1.Endpoints, g *group) *discoveryv1.EndpointSlice {
	owner := metav1.NewControllerRef(endpoints, corev1.SchemeGroupVersion.WithKind("Endpoints"))
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix(endpoints.Name), Namespace: endpoints.Namespace, OwnerReferences: []metav1.OwnerReference{*owner},
			Labels: map[string]string{}, Annotations: map[string]string{},
		},
		Ports: g.ports, AddressType: g.family,
	}
	maps.Copy(slice.Labels, endpoints.Labels)
	slice.Labels[discoveryv1.LabelServiceName], slice.Labels[discoveryv1.LabelManagedBy] = endpoints.Name, managedBy
	maps.Copy(slice.Annotations, endpoints.Annotations)
	delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(slice.Annotations, corev1.LastAppliedConfigAnnotation)
	for _, e := range g.endpoints[:min(len(g.endpoints), capacity)] {
		slice.Endpoints = append(slice.Endpoints, *g.set.Get(e))
	}
	return slice
}

// prefix answers what a slice's name begins with; the dash is for readers and left out where it makes the name too long.
func prefix(name string) string {
	if len(name)+len("-") > validation.DNS1123SubdomainMaxLength {
		return name
	}
	return name + "-"
}

// endpointOf answers the address in the slices' form, written as addresses should be.
func endpointOf(address *corev1.EndpointAddress, ready bool) (*discoveryv1.Endpoint, discoveryv1.AddressType, bool) {
	ip := utilnet.ParseIPSloppy(address.IP)
	if ip == nil {
		return nil, "", false
	}
	family := discoveryv1.AddressTypeIPv4
	if ip.To4() == nil {
		family = discoveryv1.AddressTypeIPv6
	}
	endpoint := &discoveryv1.Endpoint{
		Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef: address.TargetRef, NodeName: address.NodeName,
	}
	if address.Hostname != "" {
		endpoint.Hostname = &address.Hostname
	}
	return endpoint, family, true
}

func slicePorts(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for i := range ports {
		p := ports[i].DeepCopy()
		out = append(out, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return out
}

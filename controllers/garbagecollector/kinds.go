package garbagecollector

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Kind is one collectable kind.
type Kind struct {
	GVR        schema.GroupVersionResource
	GVK        schema.GroupVersionKind
	Namespaced bool
}

// Kinds is what the server serves.
type Kinds struct {
	// Watched are the kinds to keep in the graph, each in its preferred version.
	Watched map[schema.GroupVersionResource]Kind
	// Known are all kinds in all versions, as owner references may name them.
	Known map[schema.GroupVersionKind]Kind
	// Failed are the group versions that could not be discovered; what was known of them holds on.
	Failed []schema.GroupVersion
}

// discover asks the server for its kinds.
func discover(client discovery.ServerResourcesInterface) (Kinds, error) {
	kinds := Kinds{Watched: map[schema.GroupVersionResource]Kind{}, Known: map[schema.GroupVersionKind]Kind{}}
	groups, lists, err := client.ServerGroupsAndResources()
	var failed *discovery.ErrGroupDiscoveryFailed
	switch {
	case errors.As(err, &failed):
		for gv := range failed.Groups {
			kinds.Failed = append(kinds.Failed, gv)
		}
	case err != nil:
		return kinds, fmt.Errorf("discovering kinds: %w", err)
	}
	preferred := map[string]bool{}
	for _, g := range groups {
		preferred[g.PreferredVersion.GroupVersion] = true
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return kinds, fmt.Errorf("discovering kinds: %w", err)
		}
		for i := range l.APIResources {
			kinds.add(gv, &l.APIResources[i], preferred[l.GroupVersion])
		}
	}
	kinds.addUnpreferred(lists)
	return kinds, nil
}

func (k Kinds) add(gv schema.GroupVersion, r *metav1.APIResource, preferred bool) {
	kind := Kind{gv.WithResource(r.Name), gv.WithKind(r.Kind), r.Namespaced}
	if slices.Contains(r.Verbs, "get") && !strings.Contains(r.Name, "/") {
		k.Known[kind.GVK] = kind
	}
	if preferred && collectable(gv, r) {
		k.Watched[kind.GVR] = kind
	}
}

// addUnpreferred adds kinds that only another than their group's preferred version has.
func (k Kinds) addUnpreferred(lists []*metav1.APIResourceList) {
	have := map[schema.GroupResource]bool{}
	for gvr := range k.Watched {
		have[gvr.GroupResource()] = true
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		for i := range l.APIResources {
			r := &l.APIResources[i]
			gvr := gv.WithResource(r.Name)
			if collectable(gv, r) && !have[gvr.GroupResource()] {
				have[gvr.GroupResource()] = true
				k.Watched[gvr] = Kind{gvr, gv.WithKind(r.Kind), r.Namespaced}
			}
		}
	}
}

// collectable leaves out events: nothing is worth owning one, and there are many.
func collectable(gv schema.GroupVersion, r *metav1.APIResource) bool {
	if r.Name == "events" && (gv.Group == "" || gv.Group == "events.k8s.io") {
		return false
	}
	for _, verb := range []string{"delete", "list", "watch"} {
		if !slices.Contains(r.Verbs, verb) {
			return false
		}
	}
	return true
}

package storageversionmigrator

import (
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Kind is how a resource is reached.
type Kind struct {
	GVR   schema.GroupVersionResource
	GVK   schema.GroupVersionKind
	Verbs []string
}

// needed are the verbs that a migration can't do without.
func needed() []string { return []string{"update", "patch", "list"} }

// Migratable answers nil if objects of the kind can be listed and written.
func (k Kind) Migratable() error {
	for _, verb := range needed() {
		if !slices.Contains(k.Verbs, verb) {
			return fmt.Errorf("resource %q does not support discovery operations: %v", k.GVR.String(), needed())
		}
	}
	return nil
}

// discover answers the resource as the server serves it now, false if it does not. Groups that can't be discovered
// are as if they were not served.
func discover(client discovery.ServerResourcesInterface, resource metav1.GroupResource) (Kind, bool, error) {
	groups, lists, err := client.ServerGroupsAndResources()
	var partly *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partly) {
		return Kind{}, false, fmt.Errorf("discovering kinds: %w", err)
	}
	kind, ok := Find(groups, lists, resource)
	return kind, ok, nil
}

// Find answers the resource in its group's preferred version, else in the first that has it.
func Find(groups []*metav1.APIGroup, lists []*metav1.APIResourceList, resource metav1.GroupResource) (Kind, bool) {
	for _, g := range groups {
		if g.Name != resource.Group {
			continue
		}
		versions := []string{g.PreferredVersion.Version}
		for _, v := range g.Versions {
			versions = append(versions, v.Version)
		}
		for _, v := range versions {
			if kind, ok := in(lists, schema.GroupVersion{Group: g.Name, Version: v}, resource.Resource); ok {
				return kind, true
			}
		}
	}
	return Kind{}, false
}

func in(lists []*metav1.APIResourceList, gv schema.GroupVersion, resource string) (Kind, bool) {
	for _, l := range lists {
		if l.GroupVersion != gv.String() {
			continue
		}
		for i := range l.APIResources {
			if r := &l.APIResources[i]; r.Name == resource {
				return Kind{gv.WithResource(r.Name), gv.WithKind(r.Kind), r.Verbs}, true
			}
		}
	}
	return Kind{}, false
}

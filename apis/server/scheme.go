package server

import (
	"cmp"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/version"

	"skiff/apis/resource"
)

// NewScheme knows every served type and nothing else.
func NewScheme(resources ...resource.Resource) *runtime.Scheme {
	s := runtime.NewScheme()
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(s, unversioned)
	s.AddUnversionedTypes(unversioned, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	for _, r := range resources {
		r.AddToScheme(s)
	}
	for _, versions := range groupVersions(resources) {
		for _, gv := range versions {
			metav1.AddToGroupVersion(s, gv)
		}
		utilruntime.Must(s.SetVersionPriority(versions...))
	}
	addCopies(s)
	return s
}

// addCopies registers the conversion of every hub type to itself. Webhooks and
// policies convert what they changed back into the object under admission, which
// here is of the same type.
func addCopies(s *runtime.Scheme) {
	for gvk, t := range s.AllKnownTypes() {
		if gvk.Version != runtime.APIVersionInternal {
			continue
		}
		o := reflect.New(t).Interface()
		utilruntime.Must(s.AddConversionFunc(o, o, func(from, to any, _ conversion.Scope) error {
			reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from.(runtime.Object).DeepCopyObject()).Elem())
			return nil
		}))
	}
}

// groupVersions lists the versions of each group, most stable and newest first.
func groupVersions(resources []resource.Resource) map[string][]schema.GroupVersion {
	out := map[string][]schema.GroupVersion{}
	for _, r := range resources {
		for _, gv := range r.Served() {
			if !slices.Contains(out[gv.Group], gv) {
				out[gv.Group] = append(out[gv.Group], gv)
			}
		}
	}
	for _, versions := range out {
		slices.SortFunc(versions, func(a, b schema.GroupVersion) int {
			return cmp.Or(-versionOrder(a.Version, b.Version), cmp.Compare(a.Version, b.Version))
		})
	}
	return out
}

func versionOrder(a, b string) int { return version.CompareKubeAwareVersionStrings(a, b) }

// serves reports whether any resource is of the group.
func serves(resources []resource.Resource, group string) bool {
	return slices.ContainsFunc(resources, func(r resource.Resource) bool { return r.GVR().Group == group })
}

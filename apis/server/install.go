package server

import (
	"fmt"
	"maps"
	"slices"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericserver "k8s.io/apiserver/pkg/server"

	"skiff/apis/resource"
)

// builtIn is the set of resources with what serves them.
type builtIn struct {
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	answers   negotiated
	resources []resource.Resource
}

func newBuiltIn(resources []resource.Resource) builtIn {
	s := NewScheme(resources...)
	codecs := newCodecs(s)
	return builtIn{s, codecs, newNegotiated(codecs, s), resources}
}

// apiGroup is the storage of a group's resources and subresources, by version and name.
type apiGroup struct {
	name    string
	storage map[string]map[string]rest.Storage
}

// install serves the resources: "" under /api, every other group under /apis.
// It stands in for the server's own InstallAPIGroups, which takes no TypeConverter.
func (b builtIn) install(srv *genericserver.GenericAPIServer, config *genericserver.Config, opts generic.RESTOptionsGetter) error {
	groups, err := b.storage(opts)
	if err != nil {
		return err
	}
	types, err := b.types(config.OpenAPIV3Config, groups)
	if err != nil {
		return err
	}
	for _, g := range groups {
		versions, err := b.installGroup(srv, config, types, g)
		if err != nil {
			return fmt.Errorf("installing the group %q: %w", g.name, err)
		}
		if g.name == "" {
			root := discovery.NewLegacyRootAPIHandler(config.DiscoveryAddresses, srv.Serializer, genericserver.DefaultLegacyAPIPrefix)
			both := discoveryendpoint.WrapAggregatedDiscoveryToHandler(root, srv.AggregatedLegacyDiscoveryGroupManager, srv.AggregatedLegacyDiscoveryGroupManager)
			srv.Handler.GoRestfulContainer.Add(both.GenerateWebService(genericserver.DefaultLegacyAPIPrefix, metav1.APIVersions{}))
			continue
		}
		group := metav1.APIGroup{Name: g.name, Versions: versions, PreferredVersion: versions[0]}
		srv.DiscoveryGroupManager.AddGroup(group)
		srv.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(srv.Serializer, group).WebService())
	}
	return nil
}

// storage builds the storage of all resources, the groups in the order of their first resource.
func (b builtIn) storage(opts generic.RESTOptionsGetter) ([]*apiGroup, error) {
	var groups []*apiGroup
	for _, r := range b.resources {
		i := slices.IndexFunc(groups, func(g *apiGroup) bool { return g.name == r.GVR().Group })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &apiGroup{r.GVR().Group, map[string]map[string]rest.Storage{}})
		}
		storage, err := r.Storage(b.scheme, opts)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", r.GVR(), err)
		}
		for _, gv := range r.Served() {
			byName := groups[i].storage[gv.Version]
			if byName == nil {
				byName = map[string]rest.Storage{}
				groups[i].storage[gv.Version] = byName
			}
			maps.Copy(byName, storage)
		}
	}
	return groups, nil
}

// installGroup serves the versions of a group and answers them, the preferred one first.
func (b builtIn) installGroup(srv *genericserver.GenericAPIServer, config *genericserver.Config, types managedfields.TypeConverter, g *apiGroup) ([]metav1.GroupVersionForDiscovery, error) {
	root, aggregated := genericserver.APIGroupPrefix, srv.AggregatedDiscoveryGroupManager
	if g.name == "" {
		root, aggregated = genericserver.DefaultLegacyAPIPrefix, srv.AggregatedLegacyDiscoveryGroupManager
	}
	served := map[string][]string{}
	for version, byName := range g.storage {
		for name := range byName {
			served[name] = append(served[name], schema.GroupVersion{Group: g.name, Version: version}.String())
		}
	}
	var versions []metav1.GroupVersionForDiscovery
	for _, gv := range b.scheme.PrioritizedVersionsForGroup(g.name) {
		if len(g.storage[gv.Version]) == 0 {
			continue
		}
		api := &genericapi.APIGroupVersion{
			Storage: g.storage[gv.Version], Root: root, GroupVersion: gv, AllServedVersionsByResource: served,
			Serializer: b.answers, ParameterCodec: runtime.NewParameterCodec(b.scheme),
			Typer: b.scheme, Creater: b.scheme, Convertor: b.scheme, ConvertabilityChecker: b.scheme, Defaulter: b.scheme,
			Namer: runtime.Namer(meta.NewAccessor()), UnsafeConvertor: runtime.UnsafeObjectConvertor(b.scheme), TypeConverter: types,
			EquivalentResourceRegistry: srv.EquivalentResourceRegistry, Authorizer: srv.Authorizer, Admit: config.AdmissionControl,
			MinRequestTimeout: time.Duration(config.MinRequestTimeout) * time.Second, MaxRequestBodyBytes: config.MaxRequestBodyBytes,
		}
		resources, _, err := api.InstallREST(srv.Handler.GoRestfulContainer)
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", gv.Version, err)
		}
		for name, s := range g.storage[gv.Version] {
			if s, ok := s.(rest.StorageWithReadiness); ok {
				srv.StorageReadinessHook.RegisterStorage(metav1.GroupVersionResource(gv.WithResource(name)), s)
			}
		}
		aggregated.AddGroupVersion(g.name, apidiscoveryv2.APIVersionDiscovery{Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Version: gv.Version, Resources: resources})
		versions = append(versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	srv.RegisterDestroyFunc(func() {
		for _, byName := range g.storage {
			for _, s := range byName {
				s.Destroy()
			}
		}
	})
	return versions, nil
}

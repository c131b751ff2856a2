package server

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericserver "k8s.io/apiserver/pkg/server"

	"skiff/apis/resource"
)

// builtIn is the set of resources with what serves them.
type builtIn struct {
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	resources []resource.Resource
}

func newBuiltIn(resources []resource.Resource) builtIn {
	s := NewScheme(resources...)
	return builtIn{s, newCodecs(s), resources}
}

// install serves the resources: "" under /api, every other group under /apis.
func (b builtIn) install(srv *genericserver.GenericAPIServer, opts generic.RESTOptionsGetter) error {
	groups := map[string]*genericserver.APIGroupInfo{}
	var named []*genericserver.APIGroupInfo
	for _, r := range b.resources {
		group := r.GVR().Group
		info := groups[group]
		if info == nil {
			info = b.groupInfo(group)
			groups[group] = info
			if group != "" {
				named = append(named, info)
			}
		}
		storage, err := r.Storage(b.scheme, opts)
		if err != nil {
			return fmt.Errorf("building %s: %w", r.GVR(), err)
		}
		for _, gv := range r.Served() {
			byName := info.VersionedResourcesStorageMap[gv.Version]
			if byName == nil {
				byName = map[string]rest.Storage{}
				info.VersionedResourcesStorageMap[gv.Version] = byName
			}
			maps.Copy(byName, storage)
		}
	}
	if core := groups[""]; core != nil {
		if err := srv.InstallLegacyAPIGroup(genericserver.DefaultLegacyAPIPrefix, core); err != nil {
			return fmt.Errorf("installing the core group: %w", err)
		}
	}
	if err := srv.InstallAPIGroups(named...); err != nil {
		return fmt.Errorf("installing the API groups: %w", err)
	}
	for _, info := range groups { // the server keeps them, but needs the schemas no more
		info.StaticOpenAPISpec = nil
	}
	return nil
}

func (b builtIn) groupInfo(group string) *genericserver.APIGroupInfo {
	info := genericserver.NewDefaultAPIGroupInfo(group, b.scheme, runtime.NewParameterCodec(b.scheme), b.codecs)
	info.NegotiatedSerializer = negotiated{b.codecs, b.scheme}
	return &info
}

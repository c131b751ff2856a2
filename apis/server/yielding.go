package server

import (
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	helper "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"

	"skiff/apis/resource"
)

// yielder is a resource that others may serve in this server's place, by an
// APIService of its group version. None is made for it here: what is installed
// with one finds the name free.
type yielder interface{ Yields() }

// yieldingRank puts such a group behind all others, as those who serve it do.
var yieldingRank = rank{100, 100}

// yielding lists the group versions that are served until an APIService takes them.
func yielding(resources []resource.Resource) (out []schema.GroupVersion) {
	for _, r := range resources {
		if _, ok := r.(yielder); !ok {
			continue
		}
		for _, gv := range r.Served() {
			if !slices.Contains(out, gv) {
				out = append(out, gv)
			}
		}
	}
	return out
}

// offer shows in discovery what is served without an APIService. Requests for it
// find their way without: what no APIService claims goes down the chain.
func (s *Server) offer(resources []resource.Resource) {
	versions := yielding(resources)
	if len(versions) == 0 {
		return
	}
	list := groupList{lister: s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices().Lister()}
	for _, gv := range versions {
		list.offered = append(list.offered, localService(gv, yieldingRank))
		s.base.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(gv), int(yieldingRank.group), int(yieldingRank.version))
	}
	paths := s.aggregator.GenericAPIServer.Handler.NonGoRestfulMux
	paths.Unregister("/apis")
	paths.Unregister("/apis/")
	paths.Handle("/apis", aggregated.WrapAggregatedDiscoveryToHandler(list, s.aggregator.GenericAPIServer.AggregatedDiscoveryGroupManager, nil))
	paths.UnlistedHandle("/apis/", list)
}

// groupList answers the groups, in the form that came before aggregated
// discovery. It stands in for the aggregator's, which knows APIServices alone.
type groupList struct {
	lister  listers.APIServiceLister
	offered []*apiregistrationv1.APIService // where there is none of the name
}

// ServeHTTP implements http.Handler.
func (l groupList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	services, err := l.lister.List(labels.Everything())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := &metav1.APIGroupList{Groups: []metav1.APIGroup{apiGroupOf([]*apiregistrationv1.APIService{localService(apiregistrationv1.SchemeGroupVersion, rank{})})}}
	for _, group := range helper.SortedByGroupAndVersion(l.all(services)) {
		if group[0].Spec.Group != "" {
			out.Groups = append(out.Groups, apiGroupOf(group))
		}
	}
	responsewriters.WriteObjectNegotiated(aggregatorscheme.Codecs, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, out, false)
}

func (l groupList) all(services []*apiregistrationv1.APIService) []*apiregistrationv1.APIService {
	out := slices.Clone(services)
	for _, o := range l.offered {
		if !slices.ContainsFunc(services, func(s *apiregistrationv1.APIService) bool { return s.Name == o.Name }) {
			out = append(out, o)
		}
	}
	return out
}

// apiGroupOf tells of the versions of one group, the preferred one first.
func apiGroupOf(versions []*apiregistrationv1.APIService) metav1.APIGroup {
	g := metav1.APIGroup{Name: versions[0].Spec.Group}
	for _, s := range versions {
		gv := schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	g.PreferredVersion = g.Versions[0]
	return g
}

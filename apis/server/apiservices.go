package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/healthz"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	helper "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"

	"skiff/apis/resource"
)

// rank orders groups and versions in discovery, highest first; kubectl
// resolves a short name to the first group that has it.
type rank struct{ group, version int32 }

// groupPriority is the order upstream gives its groups.
func groupPriority(gv schema.GroupVersion) rank {
	byGroup := map[string]rank{
		"":                             {18000, 1},
		"apps":                         {17800, 15},
		"events.k8s.io":                {17750, 15},
		"authentication.k8s.io":        {17700, 15},
		"authorization.k8s.io":         {17600, 15},
		"autoscaling":                  {17500, 15},
		"batch":                        {17400, 15},
		"certificates.k8s.io":          {17300, 15},
		"networking.k8s.io":            {17200, 15},
		"policy":                       {17100, 15},
		"rbac.authorization.k8s.io":    {17000, 15},
		"storage.k8s.io":               {16800, 15},
		"apiextensions.k8s.io":         {16700, 15},
		"admissionregistration.k8s.io": {16700, 15},
		"scheduling.k8s.io":            {16600, 15},
		"coordination.k8s.io":          {16500, 15},
		"node.k8s.io":                  {16300, 15},
		"discovery.k8s.io":             {16200, 15},
		"resource.k8s.io":              {16200, 21},
		"flowcontrol.apiserver.k8s.io": {16100, 21},
		"storagemigration.k8s.io":      {15800, 15},
	}
	p, ok := byGroup[gv.Group]
	if !ok {
		p = rank{1000, 15}
	}
	if gv == (schema.GroupVersion{Group: "autoscaling", Version: "v2"}) {
		p.version = 30
	}
	return p
}

// localServices lists the group versions served in this process, custom
// resource definitions included, those of yielders not.
func localServices(resources []resource.Resource) []*apiregistrationv1.APIService {
	versions := []schema.GroupVersion{{Group: "apiextensions.k8s.io", Version: "v1"}}
	for _, r := range resources {
		if _, ok := r.(yielder); ok {
			continue
		}
		for _, gv := range r.Served() {
			if !slices.Contains(versions, gv) {
				versions = append(versions, gv)
			}
		}
	}
	out := make([]*apiregistrationv1.APIService, len(versions))
	for i, gv := range versions {
		out[i] = localService(gv, groupPriority(gv))
	}
	return out
}

func localService(gv schema.GroupVersion, p rank) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version,
			GroupPriorityMinimum: p.group, VersionPriority: p.version,
		},
	}
}

// registered is the check that the aggregator has begun to serve every group
// version of this process.
func registered(services []*apiregistrationv1.APIService, lister listers.APIServiceLister) healthz.HealthChecker {
	var mu sync.Mutex
	pending := map[string]bool{}
	for _, service := range services {
		pending[service.Name] = true
	}
	return healthz.NamedCheck("autoregister-completion", func(*http.Request) error {
		mu.Lock()
		defer mu.Unlock()
		for name := range pending {
			if service, err := lister.Get(name); err == nil && helper.IsAPIServiceConditionTrue(service, apiregistrationv1.Available) {
				delete(pending, name)
			}
		}
		if len(pending) > 0 {
			return fmt.Errorf("missing APIService: %v", slices.Sorted(maps.Keys(pending)))
		}
		return nil
	})
}

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/klog/v2"
)

// How long an access review is trusted.
const (
	accessGood = 5 * time.Minute
	accessBad  = 30 * time.Second
)

// access decides who may do what. It remembers what the API decided.
type access struct {
	config  Config
	deps    Deps
	tokens  *cache.Expiring
	reviews *cache.Expiring
}

func newAccess(config Config, deps Deps) *access {
	return &access{config: config, deps: deps, tokens: cache.NewExpiring(), reviews: cache.NewExpiring()}
}

// guard lets through only requests that are allowed.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := a.authenticate(r)
		if err != nil {
			klog.FromContext(r.Context()).V(4).Info("Refused a request to the node", "path", r.URL.Path, "reason", err.Error())
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb, candidates := verbOf(r.Method), subresources(r.URL.Path)
		for _, subresource := range candidates {
			allowed, err := a.allowed(r.Context(), who, verb, subresource)
			if err != nil {
				klog.FromContext(r.Context()).Error(err, "Authorizing a request to the node failed", "user", who.name, "subresource", subresource)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", who.name, verb, subresource),
					http.StatusInternalServerError)
				return
			}
			if allowed {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", who.name, verb, candidates), http.StatusForbidden)
	})
}

// subresources answers the subresources of a node of which one has to be allowed, the most specific first.
func subresources(path string) []string {
	below := func(prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }
	switch {
	case below("/stats"):
		return []string{"stats"}
	case below("/metrics"):
		return []string{"metrics"}
	case below("/logs"):
		return []string{"log"}
	case below("/checkpoint"):
		return []string{"checkpoint"}
	case below("/pods"), below("/runningpods"):
		return []string{"pods", "proxy"}
	case below("/healthz"):
		return []string{"healthz", "proxy"}
	case below("/configz"):
		return []string{"configz", "proxy"}
	}
	return []string{"proxy"}
}

func verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

// allowed asks the API whether a user may do something with a subresource of this node.
func (a *access) allowed(ctx context.Context, who user, verb, subresource string) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: who.name, UID: who.uid, Groups: who.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: a.config.NodeName,
		},
	}
	if len(who.extra) > 0 {
		spec.Extra = map[string]authorizationv1.ExtraValue{}
		for name, values := range who.extra {
			spec.Extra[name] = values
		}
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("encoding an access review: %w", err)
	}
	key := string(encoded)
	if known, ok := a.reviews.Get(key); ok {
		allowed, ok := known.(bool)
		return ok && allowed, nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: spec}
	answer, err := a.deps.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("reviewing access: %w", err)
	}
	keep := accessBad
	if answer.Status.Allowed {
		keep = accessGood
	}
	a.reviews.Set(key, answer.Status.Allowed, keep)
	return answer.Status.Allowed, nil
}

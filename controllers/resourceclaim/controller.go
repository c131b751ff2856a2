// Package resourceclaim makes the ResourceClaims of pods from ResourceClaimTemplates, and takes devices back when the
// pods that a claim is reserved for are gone (KEP-3063, KEP-4381). Claims for extended resources (KEP-5004) are the
// scheduler's to make and this controller's to end.
package resourceclaim

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/lru"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/written"
)

const (
	workers = 10
	// remembered is how many pods that are gone are known, so that nobody need ask the server for them.
	remembered = 500

	podPrefix, claimPrefix = "pod/", "claim/"

	byClaim, byTemplate, byOwner = "skiff.controllers/resourceclaim-of", "skiff.controllers/resourceclaimtemplate-of", "skiff.controllers/resourceclaim-owner"
)

type reconciler struct {
	env       controller.Env
	pods      listers.PodLister
	podIndex  cache.Indexer
	claims    resourcelisters.ResourceClaimLister
	index     cache.Indexer
	templates resourcelisters.ResourceClaimTemplateLister
	log       written.Log
	gone      *lru.Cache
}

// New declares the controller; its keys are pods and claims, told apart by the start of their names.
func New(env controller.Env) (controller.Spec, error) {
	pods := env.Informers.Core().V1().Pods()
	claims, templates := env.Informers.Resource().V1().ResourceClaims(), env.Informers.Resource().V1().ResourceClaimTemplates()
	if err := pods.Informer().AddIndexers(cache.Indexers{byClaim: claimsOf, byTemplate: templatesOf}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing pods by resource claim: %w", err)
	}
	if err := claims.Informer().AddIndexers(cache.Indexers{byOwner: ownerOf}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing resource claims by owner: %w", err)
	}
	r := &reconciler{
		env: env, pods: pods.Lister(), podIndex: pods.Informer().GetIndexer(),
		claims: claims.Lister(), index: claims.Informer().GetIndexer(), templates: templates.Lister(), gone: lru.New(remembered),
	}
	registerMetrics(r.claims)
	return controller.Spec{
		Name: "resourceclaim", Reconcile: r.reconcile, Workers: workers,
		Watches: []controller.Watch{
			{Informer: pods.Informer(), Keys: r.ofPod},
			{Informer: claims.Informer(), Keys: r.ofClaim},
			{Informer: templates.Informer(), Keys: r.ofTemplate},
		},
	}, nil
}

func claimsOf(o any) ([]string, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var keys []string
	for i := range pod.Spec.ResourceClaims {
		if name, _, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i]); err == nil && name != nil {
			keys = append(keys, pod.Namespace+"/"+*name)
		}
	}
	return keys, nil
}

func templatesOf(o any) ([]string, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var keys []string
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimTemplateName != nil {
			keys = append(keys, pod.Namespace+"/"+*c.ResourceClaimTemplateName)
		}
	}
	return keys, nil
}

func ownerOf(o any) ([]string, error) {
	claim, ok := o.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, nil
	}
	if _, uid := Owner(claim); uid != "" {
		return []string{claim.Namespace + "/" + string(uid)}, nil
	}
	return nil, nil
}

func claimKey(namespace, name string) controller.Key {
	return controller.Key{Namespace: namespace, Name: claimPrefix + name}
}

// split answers what a key names.
func split(key controller.Key) (name string, isPod bool) {
	if name, ok := strings.CutPrefix(key.Name, podPrefix); ok {
		return name, true
	}
	return strings.TrimPrefix(key.Name, claimPrefix), false
}

// ofPod asks for the claims that the pod no longer needs, and for the pod if something is to be done for it.
func (r *reconciler) ofPod(before, after metav1.Object) []controller.Key {
	old, pod := controller.PodOf(before), controller.PodOf(after)
	var keys []controller.Key
	if old != nil && (pod == nil || pod.UID != old.UID) && concerned(old) {
		r.gone.Add(old.UID, nil)
		keys = release(old)
	}
	if pod == nil || !concerned(pod) {
		return keys
	}
	if Done(pod) {
		keys = append(keys, release(pod)...)
	}
	return append(keys, r.wanting(pod)...)
}

func concerned(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

func release(pod *corev1.Pod) []controller.Key {
	var keys []controller.Key
	for name := range resourceclaim.PodClaims(pod) {
		keys = append(keys, claimKey(pod.Namespace, name))
	}
	return keys
}

func (r *reconciler) wanting(pod *corev1.Pod) []controller.Key {
	wants := Wanting(pod, func(name string) *resourcev1.ResourceClaim {
		claim, err := r.claims.ResourceClaims(pod.Namespace).Get(name)
		if err != nil {
			return nil
		}
		return claim
	})
	if !wants {
		return nil
	}
	return []controller.Key{{Namespace: pod.Namespace, Name: podPrefix + pod.Name}}
}

// ofClaim asks for a claim whenever it changes (an added one may be reserved for pods that are gone) and for the pods
// that name it.
func (r *reconciler) ofClaim(before, after metav1.Object) []controller.Key {
	claim, keys := after, []controller.Key(nil)
	if claim == nil {
		claim = before
	} else {
		keys = append(keys, claimKey(claim.GetNamespace(), claim.GetName()))
	}
	return append(keys, r.indexed(byClaim, claim)...)
}

func (r *reconciler) ofTemplate(_, after metav1.Object) []controller.Key {
	if after == nil {
		return nil
	}
	return r.indexed(byTemplate, after)
}

// indexed answers the pods that name the object and want something.
func (r *reconciler) indexed(index string, o metav1.Object) []controller.Key {
	items, err := r.podIndex.ByIndex(index, controller.KeyOf(o).String())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, item := range items {
		if pod, ok := item.(*corev1.Pod); ok {
			keys = append(keys, r.ofPod(nil, pod)...)
		}
	}
	return keys
}

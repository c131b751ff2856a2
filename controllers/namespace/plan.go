package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

const (
	firstLook = 100 * time.Millisecond
	lastLook  = 15 * time.Second
)

// Findings is what one pass over a terminating namespace's content found.
type Findings struct {
	// Discovery is the error of finding out what kinds there are.
	Discovery error
	// GroupVersions is the error of reading group versions.
	GroupVersions error
	// Deletion are the errors of deleting.
	Deletion []error
	// Remaining are the objects still there, by resource.
	Remaining map[schema.GroupVersionResource]int
	// Finalizers are the finalizers still there, with the number of objects that carry each.
	Finalizers map[string]int
}

// Empty answers whether all content is known to be gone.
func (f Findings) Empty() bool {
	return f.Discovery == nil && f.GroupVersions == nil && len(f.Deletion) == 0 && len(f.Remaining) == 0
}

// Conditions answers the namespace's conditions after a pass. A condition is shown once its trouble has appeared.
func Conditions(old []corev1.NamespaceCondition, f Findings, now time.Time) []corev1.NamespaceCondition {
	conditions := slices.Clone(old)
	for _, c := range []struct {
		kind       corev1.NamespaceConditionType
		bad        string
		reason     string
		fine, calm string
	}{
		{corev1.NamespaceDeletionDiscoveryFailure, undiscovered(f.Discovery), "DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered"},
		{corev1.NamespaceDeletionGVParsingFailure, words(f.GroupVersions), "GroupVersionParsingFailed", "ParsedGroupVersions", "All legacy kube types successfully parsed"},
		{corev1.NamespaceDeletionContentFailure, undeleted(f.Deletion), "ContentDeletionFailed", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"},
		{corev1.NamespaceContentRemaining, remaining(f.Remaining), "SomeResourcesRemain", "ContentRemoved", "All content successfully removed"},
		{corev1.NamespaceFinalizersRemaining, finalizers(f.Finalizers), "SomeFinalizersRemain", "ContentHasNoFinalizers", "All content-preserving finalizers finished"},
	} {
		next := corev1.NamespaceCondition{Type: c.kind, Status: corev1.ConditionFalse, Reason: c.fine, Message: c.calm}
		if c.bad != "" {
			next = corev1.NamespaceCondition{Type: c.kind, Status: corev1.ConditionTrue, Reason: c.reason, Message: c.bad}
		}
		conditions = set(conditions, next, now)
	}
	return conditions
}

func set(conditions []corev1.NamespaceCondition, next corev1.NamespaceCondition, now time.Time) []corev1.NamespaceCondition {
	next.LastTransitionTime = metav1.NewTime(now)
	for i := range conditions {
		if conditions[i].Type != next.Type {
			continue
		}
		if conditions[i].Status == next.Status {
			next.LastTransitionTime = conditions[i].LastTransitionTime
		}
		conditions[i] = next
		return conditions
	}
	return append(conditions, next)
}

func undiscovered(err error) string {
	var groups *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &groups) {
		return fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups.Groups), err)
	}
	return words(err)
}

func words(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func undeleted(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return list(fmt.Sprintf("Failed to delete all resource types, %d remaining: ", len(errs)), texts)
}

func remaining(counts map[schema.GroupVersionResource]int) string {
	var parts []string
	for gvr, n := range counts {
		parts = append(parts, fmt.Sprintf("%s.%s has %d resource instances", gvr.Resource, gvr.Group, n))
	}
	return list("Some resources are remaining: ", parts)
}

func finalizers(counts map[string]int) string {
	var parts []string
	for name, n := range counts {
		parts = append(parts, fmt.Sprintf("%s in %d resource instances", name, n))
	}
	return list("Some content in the namespace has finalizers remaining: ", parts)
}

func list(intro string, parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return intro + strings.Join(parts, ", ")
}

// Overdue answers whether objects that were deleted with their namespace ought to be gone by now: no finalizer holds any
// and the longest grace period is over.
func Overdue(left []metav1.PartialObjectMetadata, deleted, now time.Time) bool {
	var grace int64
	for i := range left {
		if len(left[i].Finalizers) > 0 {
			return false
		}
		if g := left[i].DeletionGracePeriodSeconds; g != nil {
			grace = max(grace, *g)
		}
	}
	return len(left) > 0 && now.Sub(deleted) >= time.Duration(grace)*time.Second
}

// NextLook answers when to look again at content that goes away by itself: the longer it takes, the more rarely.
func NextLook(deleted, now time.Time) time.Duration {
	return min(max(now.Sub(deleted)/4, firstLook), lastLook)
}

// WithoutFinalizer answers the namespace's finalizers without the one that this controller serves.
func WithoutFinalizer(all []corev1.FinalizerName) []corev1.FinalizerName {
	return slices.DeleteFunc(slices.Clone(all), func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
}

package owner

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func set() *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "rs-1"}}
}

func pod(name, app string, of metav1.Object) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: "p", Labels: map[string]string{"app": app}}}
	if of != nil {
		p.OwnerReferences = []metav1.OwnerReference{NewRef(of, kind())}
	}
	return p
}

func kind() schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind("ReplicaSet") }

func TestPlan(t *testing.T) {
	now := metav1.Now()
	mine := set()
	other := mine.DeepCopy()
	other.UID = "other"
	going := mine.DeepCopy()
	going.DeletionTimestamp = &now
	dying := pod("dying", "web", nil)
	dying.DeletionTimestamp = &now
	all := []*corev1.Pod{
		pod("owned", "web", mine), pod("strayed", "db", mine), pod("orphan", "web", nil), pod("stranger", "db", nil), pod("taken", "web", other), dying,
	}
	selector := labels.SelectorFromSet(labels.Set{"app": "web"})
	names := func(pods []*corev1.Pod) string {
		var all []string
		for _, p := range pods {
			all = append(all, p.Name)
		}
		return strings.Join(all, ",")
	}
	c := Plan(mine, selector, all)
	if names(c.Keep) != "owned" || names(c.Adopt) != "orphan" || names(c.Release) != "strayed" {
		t.Errorf("keep %s, adopt %s, release %s", names(c.Keep), names(c.Adopt), names(c.Release))
	}
	c = Plan(going, selector, all)
	if names(c.Keep) != "owned" || len(c.Adopt)+len(c.Release) != 0 {
		t.Errorf("an owner that goes: %+v", c)
	}
}

func TestApplyAdoptsOnlyForTheSameOwner(t *testing.T) {
	mine := set()
	reborn := mine.DeepCopy()
	reborn.UID = "reborn"
	now := metav1.Now()
	going := mine.DeepCopy()
	going.DeletionTimestamp = &now
	for name, tt := range map[string]struct {
		fresh metav1.Object
		err   error
		want  int
	}{
		"the same": {mine, nil, 1}, "recreated": {reborn, nil, 0}, "deleted": {going, nil, 0}, "unreadable": {nil, errors.New("x"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			patched := 0
			c := Claimer[*corev1.Pod]{
				Owner: mine, Kind: kind(), Fresh: func(context.Context) (metav1.Object, error) { return tt.fresh, tt.err },
				Patch: func(_ context.Context, p *corev1.Pod, patch []byte) (*corev1.Pod, error) {
					patched++
					if !strings.Contains(string(patch), `"uid":"p"`) || !strings.Contains(string(patch), `"blockOwnerDeletion":true`) {
						t.Errorf("patch %s", patch)
					}
					return p, nil
				},
			}
			owned, err := c.Apply(t.Context(), Claims[*corev1.Pod]{Adopt: []*corev1.Pod{pod("orphan", "web", nil)}})
			if len(owned) != tt.want || patched != tt.want || (err == nil) != (tt.want == 1) {
				t.Errorf("owned %d, patched %d, %v", len(owned), patched, err)
			}
		})
	}
}

func TestReleaseOfTheMissingSucceeds(t *testing.T) {
	c := Claimer[*corev1.Pod]{
		Owner: set(), Kind: kind(), Finalizers: []string{"tracked"},
		Patch: func(_ context.Context, _ *corev1.Pod, patch []byte) (*corev1.Pod, error) {
			if !strings.Contains(string(patch), `"$deleteFromPrimitiveList/finalizers":["tracked"]`) {
				t.Errorf("patch %s", patch)
			}
			return nil, apierrors.NewNotFound(schema.GroupResource{}, "x")
		},
	}
	if _, err := c.Apply(t.Context(), Claims[*corev1.Pod]{Release: []*corev1.Pod{pod("x", "db", nil)}}); err != nil {
		t.Error(err)
	}
}

package typecheck

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func policy(name string, generation, observed int64) *Policy {
	return &Policy{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: generation}, Status: admissionv1.ValidatingAdmissionPolicyStatus{ObservedGeneration: observed}}
}

func TestPending(t *testing.T) {
	for _, c := range []struct {
		generation, observed int64
		want                 bool
	}{{1, 0, true}, {1, 1, false}, {2, 1, true}, {1, 2, false}} {
		if got := Pending(policy("p", c.generation, c.observed)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestStatus(t *testing.T) {
	fine := Status(policy("p", 3, 0), nil)
	if *fine.Name != "p" || *fine.Status.ObservedGeneration != 3 || fine.Status.TypeChecking == nil || len(fine.Status.TypeChecking.ExpressionWarnings) > 0 {
		t.Errorf("%+v", fine.Status)
	}
	wrong := Status(policy("p", 4, 3), []admissionv1.ExpressionWarning{{FieldRef: "a", Warning: "b"}, {FieldRef: "c", Warning: "d"}}).Status
	if got := wrong.TypeChecking.ExpressionWarnings; *wrong.ObservedGeneration != 4 || len(got) != 2 || *got[0].FieldRef != "a" || *got[0].Warning != "b" || *got[1].FieldRef != "c" || *got[1].Warning != "d" {
		t.Errorf("%+v", got)
	}
}

// writer takes what is written, but fails at first; a policy with the name gone is not there.
type writer struct {
	mu      sync.Mutex
	failed  bool
	written []string
	done    chan struct{}
}

func (w *writer) ApplyStatus(_ context.Context, p *apply.ValidatingAdmissionPolicyApplyConfiguration, o metav1.ApplyOptions) (*Policy, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case *p.Name == "gone":
		w.written = append(w.written, "gone")
		return nil, apierrors.NewNotFound(schema.GroupResource{}, "gone")
	case !w.failed:
		w.failed = true
		return nil, errors.New("not now")
	case !o.Force || o.FieldManager != "validatingadmissionpolicy-status":
		return nil, errors.New("not so")
	}
	w.written = append(w.written, *p.Name+" "+*p.Status.TypeChecking.ExpressionWarnings[0].Warning)
	close(w.done)
	return nil, nil
}

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	factory := informers.NewSharedInformerFactory(fake.NewClientset(policy("new", 1, 0), policy("known", 2, 2), policy("gone", 1, 0)), 0)
	w := &writer{done: make(chan struct{})}
	checker, err := New(factory.Admissionregistration().V1().ValidatingAdmissionPolicies(), w, func(p *Policy) []admissionv1.ExpressionWarning {
		return []admissionv1.ExpressionWarning{{FieldRef: "spec", Warning: "of " + p.Name}}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	factory.StartWithContext(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); checker.Run(ctx) }()
	<-w.done
	cancel()
	<-ended
	factory.Shutdown()
	slices.Sort(w.written)
	if w.written = slices.Compact(w.written); !slices.Contains(w.written, "new of new") || slices.Contains(w.written, "known of known") {
		t.Errorf("written: %q", w.written)
	}
}

package controller

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestWorkCountsFromItsBeginning(t *testing.T) {
	conflict := errors.NewConflict(schema.GroupResource{Resource: "pods"}, "a", nil)
	for _, test := range []struct {
		asked, took, want time.Duration
		err, wantErr      error
	}{
		{asked: time.Hour, took: 31 * time.Minute, want: 29 * time.Minute},
		{asked: time.Hour, want: time.Hour},
		{asked: time.Minute, took: time.Hour, want: overdue},
		{took: time.Hour},
		{asked: time.Hour, took: time.Minute, err: conflict, want: conflictRetry},
		{asked: time.Hour, took: time.Minute, err: context.Canceled, want: 59 * time.Minute, wantErr: context.Canceled},
	} {
		clock := clocktesting.NewFakeClock(time.Unix(0, 0))
		spec := Spec{Name: "slow", Reconcile: func(context.Context, Key) (Result, error) {
			clock.Step(test.took)
			return Result{RequeueAfter: test.asked}, test.err
		}}
		got, err := work(spec, clock)(t.Context(), reconcile.Request{})
		if got.RequeueAfter != test.want || err != test.wantErr {
			t.Errorf("%s asked for after %s: called again after %s, error %v", test.asked, test.took, got.RequeueAfter, err)
		}
	}
}

package authorization

import (
	"context"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// recorder allows alice and remembers what was asked.
type recorder struct{ asked authorizer.Attributes }

func (r *recorder) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	r.asked = a
	if a.GetUser().GetName() == "alice" {
		return authorizer.DecisionAllow, "is alice", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestReviewAsksAboutTheSubject(t *testing.T) {
	r := &recorder{}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: "list", Resource: "pods",
		LabelSelector: &authorizationv1.LabelSelectorAttributes{RawSelector: "a=b,c notin (d)"},
		FieldSelector: &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{
			{Key: "metadata.name", Operator: metav1.FieldSelectorOpIn, Values: []string{"n"}},
			{Key: "spec.nodeName", Operator: metav1.FieldSelectorOpExists},
		}},
	}}}
	got, err := Deps{Authorizer: r}.review(context.Background(), review)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Status.Allowed || got.Status.Reason != "is alice" || !strings.Contains(got.Status.EvaluationError, "fieldSelector partially ignored") {
		t.Fatalf("got %+v", got.Status)
	}
	labels, _ := r.asked.GetLabelSelector()
	fields, _ := r.asked.GetFieldSelector()
	if len(labels) != 2 || len(fields) != 1 || r.asked.GetAPIVersion() != "*" {
		t.Fatalf("asked about labels %v, fields %v, version %q", labels, fields, r.asked.GetAPIVersion())
	}
}

func TestReviewRefuses(t *testing.T) {
	url := &authorizationv1.NonResourceAttributes{Path: "/x", Verb: "get"}
	for name, c := range map[string]struct {
		errs error
		want string
	}{
		"nobody":    {validateReview(&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: url}}).ToAggregate(), "at least one of user or group"},
		"nothing":   {validateSelf(&authorizationv1.SelfSubjectAccessReview{}).ToAggregate(), "exactly one of"},
		"named":     {validateSelf(&authorizationv1.SelfSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Name: "x"}}).ToAggregate(), "must be empty"},
		"local url": {validateLocal(&authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "a", NonResourceAttributes: url}}).ToAggregate(), `{"Path":"/x","Verb":"get"}: disallowed on this kind of request`},
	} {
		if c.errs == nil || !strings.Contains(c.errs.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, c.errs, c.want)
		}
	}
}

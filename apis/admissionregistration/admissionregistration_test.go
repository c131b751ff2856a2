package admissionregistration

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

func sample() hook {
	none, url := admissionv1.SideEffectClassNone, "https://example.org/"
	h := hook{ValidatingWebhook: admissionv1.ValidatingWebhook{
		Name: "a.example.org", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ClientConfig: admissionv1.WebhookClientConfig{URL: &url},
	}}
	h.fill()
	return h
}

func TestValidateHooks(t *testing.T) {
	c := newExpressions()
	for name, k := range map[string]struct {
		change func(*hook)
		want   string
	}{
		"valid":       {func(*hook) {}, ""},
		"short name":  {func(h *hook) { h.Name = "a" }, "should be a domain with at least three segments"},
		"no client":   {func(h *hook) { h.ClientConfig.URL = nil }, "exactly one of url or service is required"},
		"old reviews": {func(h *hook) { h.AdmissionReviewVersions = []string{"v0"} }, "must include at least one of v1, v1beta1"},
		"all and one": {func(h *hook) {
			h.Rules = []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*", "pods"}}}}
		}, "must not specify other resources without subresources"},
		"condition": {func(h *hook) {
			h.MatchConditions = []admissionv1.MatchCondition{{Name: "c", Expression: "request.name == 'x'"}}
		}, ""},
		"no condition": {func(h *hook) { h.MatchConditions = []admissionv1.MatchCondition{{Name: "c", Expression: "'text'"}} }, "must evaluate to bool"},
	} {
		h := sample()
		k.change(&h)
		got := c.validateHooks([]hook{h}, nil).ToAggregate()
		if (got == nil) != (k.want == "") || (got != nil && !strings.Contains(got.Error(), k.want)) {
			t.Errorf("%s: got %v, want %q", name, got, k.want)
		}
	}
	if errs := c.validateHooks([]hook{sample(), sample()}, nil); !strings.Contains(errs.ToAggregate().Error(), "Duplicate value") {
		t.Errorf("two hooks of a name: %v", errs)
	}
}

func TestPolicyVariables(t *testing.T) {
	c := newExpressions()
	p := &admissionv1.ValidatingAdmissionPolicy{}
	p.Name = "p"
	fail := admissionv1.Fail
	p.Spec = admissionv1.ValidatingAdmissionPolicySpec{
		FailurePolicy: &fail,
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}},
		}}}},
		Variables:   []admissionv1.Variable{{Name: "a", Expression: "1"}, {Name: "b", Expression: "variables.a + 1"}},
		Validations: []admissionv1.Validation{{Expression: "variables.b > 1"}},
	}
	defaultMatchResources(p.Spec.MatchConstraints)
	if errs := c.validateValidating(p, nil); len(errs) > 0 {
		t.Fatal(errs)
	}
	p.Spec.Variables[0], p.Spec.Variables[1] = p.Spec.Variables[1], p.Spec.Variables[0]
	if errs := c.validateValidating(p, nil); len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), "undefined field 'a'") {
		t.Fatalf("a variable was used before it is declared: %v", errs)
	}
}

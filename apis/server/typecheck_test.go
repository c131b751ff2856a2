package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server"
	"skiff/test/env"
)

func checkPolicies(c *server.Config) { c.CheckPolicies = true }

func of(group, version string, resources ...string) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources},
	}}
}

// policyOn is a policy with these expressions.
func policyOn(name string, rules []admissionv1.NamedRuleWithOperations, expressions ...string) *admissionv1.ValidatingAdmissionPolicy {
	p := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicySpec{MatchConstraints: &admissionv1.MatchResources{ResourceRules: rules}},
	}
	for _, e := range expressions {
		p.Spec.Validations = append(p.Spec.Validations, admissionv1.Validation{Expression: e})
	}
	return p
}

// checked waits until the policy's present generation was checked.
func checked(t *testing.T, client kubernetes.Interface, name string) *admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	var p *admissionv1.ValidatingAdmissionPolicy
	eventually(t, "type check of "+name, func() (bool, error) {
		var err error
		p, err = client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && p.Status.ObservedGeneration != p.Generation {
			err = fmt.Errorf("generation %d, observed %d", p.Generation, p.Status.ObservedGeneration)
		}
		return err == nil, err
	})
	if p.Status.TypeChecking == nil { // applying a status without the warnings that there were takes it away
		p.Status.TypeChecking = &admissionv1.TypeChecking{}
	}
	return p
}

// warned wants these warnings of a checked policy, each as field: text.
func warned(t *testing.T, p *admissionv1.ValidatingAdmissionPolicy, want ...string) {
	t.Helper()
	var got []string
	for _, w := range p.Status.TypeChecking.ExpressionWarnings {
		got = append(got, w.FieldRef+": "+w.Warning)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%q, want\n%q", p.Name, got, want)
	}
}

// TestTypeChecking tells what is wrong with policies, for built-in and custom kinds, until they are mended.
func TestTypeChecking(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: checkPolicies})
	client := kubernetes.NewForConfigOrDie(s.Admin())
	policies, ctx := client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), t.Context()
	create := func(p *admissionv1.ValidatingAdmissionPolicy) {
		t.Helper()
		if _, err := policies.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	apps := []admissionv1.NamedRuleWithOperations{of("apps", "v1", "deployments", "replicasets")}
	create(policyOn("mixed", apps, "object.spec.replicas > 1", "!object.spec.paused"))
	const text = "spec.validations[1].expression: apps/v1, Kind=ReplicaSet: ERROR: <input>:1:13: undefined field 'paused'\n" +
		" | !object.spec.paused\n" +
		" | ............^\n"
	mixed := checked(t, client, "mixed")
	warned(t, mixed, text)
	if i := slices.IndexFunc(mixed.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Subresource == "status" }); i < 0 ||
		mixed.ManagedFields[i].Manager != "validatingadmissionpolicy-status" || mixed.ManagedFields[i].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("managers %+v", mixed.ManagedFields)
	}

	message := policyOn("message", apps, "object.spec.replicas > 1")
	message.Spec.Validations[0].MessageExpression = "'too few: ' + string(object.spec.replica)"
	create(message)
	if w := checked(t, client, "message").Status.TypeChecking.ExpressionWarnings; len(w) != 1 || w[0].FieldRef != "spec.validations[0].messageExpression" || strings.Count(w[0].Warning, "undefined field 'replica'") != 2 {
		t.Errorf("message: %+v", w)
	}
	create(policyOn("wild", []admissionv1.NamedRuleWithOperations{of("*", "*", "*")}, "object.spec.nonsense > 1"))
	warned(t, checked(t, client, "wild"))
	params := policyOn("params", apps, "object.spec.replicas > params.wrong")
	params.Spec.ParamKind = &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	create(params)
	if w := checked(t, client, "params").Status.TypeChecking.ExpressionWarnings; len(w) != 1 || !strings.Contains(w[0].Warning, "undefined field 'wrong'") {
		t.Errorf("params: %+v", w)
	}

	defineGizmos(t, s, client)
	create(policyOn("custom", []admissionv1.NamedRuleWithOperations{of("typecheck.example.com", "v1", "gizmos")}, "object.spec.size > 1", "object.spec.seize > 1"))
	warned(t, checked(t, client, "custom"), "spec.validations[1].expression: typecheck.example.com/v1, Kind=Gizmo: ERROR: <input>:1:12: undefined field 'seize'\n"+
		" | object.spec.seize > 1\n"+
		" | ...........^\n")

	eventually(t, "mended policy", func() (bool, error) {
		p, err := policies.Get(ctx, "mixed", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		p.Spec.Validations[1].Expression = "has(object.spec.selector)"
		_, err = policies.Update(ctx, p, metav1.UpdateOptions{})
		return err == nil, err
	})
	mixed = checked(t, client, "mixed")
	warned(t, mixed)
	if mixed.Status.ObservedGeneration != 2 {
		t.Errorf("generation %d", mixed.Status.ObservedGeneration)
	}
}

// defineGizmos adds a custom kind, and waits until its schema is published.
func defineGizmos(t *testing.T, s *env.Server, client kubernetes.Interface) {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gizmos.typecheck.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "typecheck.example.com", Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "gizmos", Kind: "Gizmo"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}},
				}},
			}}},
		},
	}
	if _, err := apiextensions.NewForConfigOrDie(s.Admin()).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "schema of gizmos", func() (bool, error) {
		document, err := client.CoreV1().RESTClient().Get().AbsPath("/openapi/v3/apis/typecheck.example.com/v1").DoRaw(t.Context())
		return strings.Contains(string(document), `"Gizmo"`), err
	})
}

// TestTypeCheckingByTwo lets two servers check the same policies, one of which ends, and another begins: what was
// checked is not written again.
func TestTypeCheckingByTwo(t *testing.T) {
	t.Parallel()
	first := env.Start(t, env.Options{Configure: checkPolicies})
	second := env.Start(t, env.Options{Configure: checkPolicies, Beside: first})
	client := kubernetes.NewForConfigOrDie(first.Admin())
	policies := client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	create := func(name string) *admissionv1.ValidatingAdmissionPolicy {
		t.Helper()
		if _, err := policies.Create(t.Context(), policyOn(name, []admissionv1.NamedRuleWithOperations{of("", "v1", "configmaps")}, "object.data.size() < 3 && has(object.date)"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		p := checked(t, client, name)
		warned(t, p, "spec.validations[0].expression: /v1, Kind=ConfigMap: ERROR: <input>:1:30: undefined field 'date'\n"+
			" | object.data.size() < 3 && has(object.date)\n"+
			" | .............................^\n")
		return p
	}
	one := create("one")
	second.Stop()
	create("two")
	again, err := policies.Get(t.Context(), "one", metav1.GetOptions{})
	if err != nil || again.ResourceVersion != one.ResourceVersion {
		t.Errorf("%v; version %s, then %s", err, one.ResourceVersion, again.ResourceVersion)
	}
}

package admissionregistration

import (
	"context"
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func validatingWebhookConfigurations(c expressions) resource.Definition[*admissionv1.ValidatingWebhookConfiguration] {
	type W = *admissionv1.ValidatingWebhookConfiguration
	return resource.Definition[W]{
		Resource:      group.WithResource("validatingwebhookconfigurations"),
		Kind:          "ValidatingWebhookConfiguration",
		Singular:      "validatingwebhookconfiguration",
		Categories:    categories(),
		ClusterScoped: true,
		Object:        &admissionv1.ValidatingWebhookConfiguration{},
		List:          &admissionv1.ValidatingWebhookConfigurationList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default: func(w W) {
			for i := range w.Webhooks {
				h := hookOfValidating(&w.Webhooks[i])
				h.fill()
				h.toValidating(&w.Webhooks[i])
			}
		},
		Validate: func(_ context.Context, obj, old W) field.ErrorList {
			var hooks []hook
			for i := range obj.Webhooks {
				hooks = append(hooks, hookOfValidating(&obj.Webhooks[i]))
			}
			var stored []admissionv1.MatchCondition
			if old != nil {
				for _, h := range old.Webhooks {
					stored = append(stored, h.MatchConditions...)
				}
			}
			return c.validateHooks(hooks, stored)
		},
		Changed: func(obj, old W) bool { return !reflect.DeepEqual(obj.Webhooks, old.Webhooks) },
		Columns: []resource.Column[W]{
			{Name: "Webhooks", Type: "integer", Help: "Webhooks indicates the number of webhooks registered in this configuration", Value: func(w W) any { return int64(len(w.Webhooks)) }},
		},
		NoUnconditionalUpdate: true,
	}
}

func mutatingWebhookConfigurations(c expressions) resource.Definition[*admissionv1.MutatingWebhookConfiguration] {
	type W = *admissionv1.MutatingWebhookConfiguration
	return resource.Definition[W]{
		Resource:      group.WithResource("mutatingwebhookconfigurations"),
		Kind:          "MutatingWebhookConfiguration",
		Singular:      "mutatingwebhookconfiguration",
		Categories:    categories(),
		ClusterScoped: true,
		Object:        &admissionv1.MutatingWebhookConfiguration{},
		List:          &admissionv1.MutatingWebhookConfigurationList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default: func(w W) {
			for i := range w.Webhooks {
				h := hookOfMutating(&w.Webhooks[i])
				h.fill()
				setTo(&h.reinvocation, admissionv1.NeverReinvocationPolicy)
				h.toMutating(&w.Webhooks[i])
			}
		},
		Validate: func(_ context.Context, obj, old W) field.ErrorList {
			var hooks []hook
			for i := range obj.Webhooks {
				hooks = append(hooks, hookOfMutating(&obj.Webhooks[i]))
			}
			var stored []admissionv1.MatchCondition
			if old != nil {
				for _, h := range old.Webhooks {
					stored = append(stored, h.MatchConditions...)
				}
			}
			return c.validateHooks(hooks, stored)
		},
		Changed: func(obj, old W) bool { return !reflect.DeepEqual(obj.Webhooks, old.Webhooks) },
		Columns: []resource.Column[W]{
			{Name: "Webhooks", Type: "integer", Help: "Webhooks indicates the number of webhooks registered in this configuration", Value: func(w W) any { return int64(len(w.Webhooks)) }},
		},
		NoUnconditionalUpdate: true,
	}
}

// hook is a webhook of either kind; only a mutating one has reinvocation.
type hook struct {
	admissionv1.ValidatingWebhook
	reinvocation *admissionv1.ReinvocationPolicyType
}

func hookOfValidating(w *admissionv1.ValidatingWebhook) hook { return hook{ValidatingWebhook: *w} }

func (h hook) toValidating(w *admissionv1.ValidatingWebhook) { *w = h.ValidatingWebhook }

func hookOfMutating(w *admissionv1.MutatingWebhook) hook {
	return hook{admissionv1.ValidatingWebhook{
		Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
		NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
		TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
	}, w.ReinvocationPolicy}
}

func (h hook) toMutating(w *admissionv1.MutatingWebhook) {
	w.ClientConfig, w.Rules = h.ClientConfig, h.Rules
	w.FailurePolicy, w.MatchPolicy = h.FailurePolicy, h.MatchPolicy
	w.NamespaceSelector, w.ObjectSelector = h.NamespaceSelector, h.ObjectSelector
	w.TimeoutSeconds, w.ReinvocationPolicy = h.TimeoutSeconds, h.reinvocation
}

// fill sets the defaults that both kinds have.
func (h *hook) fill() {
	setTo(&h.FailurePolicy, admissionv1.Fail)
	setTo(&h.MatchPolicy, admissionv1.Equivalent)
	setTo(&h.NamespaceSelector, metav1.LabelSelector{})
	setTo(&h.ObjectSelector, metav1.LabelSelector{})
	setTo(&h.TimeoutSeconds, 10)
	if s := h.ClientConfig.Service; s != nil {
		setTo(&s.Port, 443)
	}
	for i := range h.Rules {
		setTo(&h.Rules[i].Scope, admissionv1.AllScopes)
	}
}

func (c expressions) validateHooks(hooks []hook, stored []admissionv1.MatchCondition) (errs field.ErrorList) {
	names := map[string]bool{}
	for i := range hooks {
		h, at := &hooks[i], field.NewPath("webhooks").Index(i)
		errs = append(errs, c.validateHook(h, stored, at)...)
		errs = append(errs, validateReviewVersions(h.AdmissionReviewVersions, at.Child("admissionReviewVersions"))...)
		if h.Name != "" && names[h.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), h.Name))
		}
		names[h.Name] = true
	}
	return errs
}

func (c expressions) validateHook(h *hook, stored []admissionv1.MatchCondition, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, utilvalidation.IsFullyQualifiedName(at.Child("name"), h.Name)...)
	for i := range h.Rules {
		errs = append(errs, validateOperationsRule(&h.Rules[i], at.Child("rules").Index(i))...)
	}
	if h.FailurePolicy != nil {
		errs = append(errs, validate.Enum(*h.FailurePolicy, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	}
	if h.MatchPolicy != nil {
		errs = append(errs, validate.Enum(*h.MatchPolicy, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact)...)
	}
	if h.SideEffects == nil {
		errs = append(errs, field.Required(at.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
	} else {
		errs = append(errs, validate.Enum(*h.SideEffects, at.Child("sideEffects"), admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun)...)
	}
	if t := h.TimeoutSeconds; t != nil && (*t > 30 || *t < 1) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, validateSelector(h.NamespaceSelector, at.Child("namespaceSelector"))...)
	errs = append(errs, validateSelector(h.ObjectSelector, at.Child("objectSelector"))...)
	if h.reinvocation != nil {
		errs = append(errs, validate.Enum(*h.reinvocation, at.Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
	}
	errs = append(errs, validateClient(&h.ClientConfig, at.Child("clientConfig"))...)
	if len(h.MatchConditions) > 0 {
		errs = append(errs, validateConditions(c.shared(), h.MatchConditions, stored, false, at.Child("matchConditions"))...)
	}
	return errs
}

func validateClient(c *admissionv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case c.URL != nil:
		return webhook.ValidateWebhookURL(at.Child("url"), *c.URL, true)
	}
	port := int32(443)
	if c.Service.Port != nil {
		port = *c.Service.Port
	}
	// the API reports a missing name as a missing namespace, and the other way round
	return webhook.ValidateWebhookService(at.Child("service"), c.Service.Name, c.Service.Namespace, c.Service.Path, port)
}

func validateReviewVersions(versions []string, at *field.Path) (errs field.ErrorList) {
	const accepted = "v1, v1beta1"
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+accepted)}
	}
	seen, known := map[string]bool{}, false
	for i, v := range versions {
		if seen[v] {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		seen[v] = true
		for _, msg := range utilvalidation.IsDNS1035Label(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, msg))
		}
		known = known || v == "v1" || v == "v1beta1"
	}
	if !known {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+accepted))
	}
	return errs
}

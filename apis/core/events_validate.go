package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// validateEvent holds events with an eventTime, which newer recorders write, to
// more than the older ones without.
func validateEvent(_ context.Context, e, _ *corev1.Event) (errs field.ErrorList) {
	about := field.NewPath("involvedObject", "namespace")
	mismatch := field.Invalid(about, e.InvolvedObject.Namespace, "does not match event.namespace")
	ns := e.InvolvedObject.Namespace
	if e.EventTime.IsZero() {
		clusterScoped := ns == "" && (e.Namespace == "" || e.Namespace == metav1.NamespaceDefault)
		if !clusterScoped && ns != e.Namespace {
			errs = append(errs, mismatch)
		}
	} else {
		if ns == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			errs = append(errs, mismatch)
		}
		errs = append(errs, validateEventReport(e)...)
	}
	return append(errs, validate.DNSSubdomain(e.Namespace, field.NewPath("namespace"))...)
}

func validateEventReport(e *corev1.Event) (errs field.ErrorList) {
	path := field.NewPath("reportingComponent")
	errs = append(errs, validate.Required(e.ReportingController, path)...)
	errs = append(errs, validate.QualifiedName(e.ReportingController, path)...)
	limited := func(value, name string, limit int, required bool) {
		if required && value == "" {
			errs = append(errs, field.Required(field.NewPath(name), ""))
		}
		if len(value) > limit {
			errs = append(errs, field.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %d characters", limit)))
		}
	}
	limited(e.ReportingInstance, "reportingInstance", 128, true)
	limited(e.Action, "action", 128, true)
	limited(e.Reason, "reason", 128, true)
	limited(e.Message, "message", 1024, false)
	return errs
}

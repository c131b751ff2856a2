package events

import (
	"context"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const (
	shortText = 128
	longText  = 1024
)

// validateEvent checks an event that is written through this group, which is
// stricter than core: what happened can't be rewritten, only repeated.
func validateEvent(_ context.Context, e, old *corev1.Event) field.ErrorList {
	errs := validateReport(e)
	meta := field.NewPath("metadata")
	if old != nil {
		errs = append(errs, validation.ValidateObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta, meta)...)
		if !reflect.DeepEqual(e.Series, old.Series) {
			errs = append(errs, validateSeries(e.Series)...)
		}
		return append(errs, validateSame(e, old)...)
	}
	errs = append(errs, validation.ValidateObjectMeta(&e.ObjectMeta, true, validation.NameIsDNSSubdomain, meta)...)
	errs = append(errs, validateSeries(e.Series)...)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()},
		{"lastTimestamp", !e.LastTimestamp.IsZero()},
		{"count", e.Count != 0},
		{"source", e.Source != corev1.EventSource{}},
	} {
		if f.set {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", "needs to be unset"))
		}
	}
	return errs
}

// validateReport checks who says what about which namespace.
func validateReport(e *corev1.Event) (errs field.ErrorList) {
	about := e.InvolvedObject.Namespace
	mismatch := field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")
	if e.EventTime.IsZero() {
		cluster := about == "" && (e.Namespace == "" || e.Namespace == metav1.NamespaceDefault)
		if !cluster && about != e.Namespace {
			errs = append(errs, mismatch)
		}
	} else {
		if about == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			errs = append(errs, mismatch)
		}
		controller := field.NewPath("reportingController")
		errs = append(errs, validate.Required(e.ReportingController, controller)...)
		errs = append(errs, validate.QualifiedName(e.ReportingController, controller)...)
		errs = append(errs, validateText("reportingInstance", e.ReportingInstance, shortText)...)
		errs = append(errs, validateText("action", e.Action, shortText)...)
		errs = append(errs, validateText("reason", e.Reason, shortText)...)
		if e.Message != "" {
			errs = append(errs, validateText("message", e.Message, longText)...)
		}
	}
	return append(errs, validate.DNSSubdomain(e.Namespace, field.NewPath("namespace"))...)
}

func validateText(name, text string, longest int) (errs field.ErrorList) {
	errs = validate.Required(text, field.NewPath(name))
	if len(text) > longest {
		errs = append(errs, field.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %d characters", longest)))
	}
	return errs
}

func validateSeries(s *corev1.EventSeries) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	if s.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series", "count"), "", "should be at least 2"))
	}
	if s.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series", "lastObservedTime"), ""))
	}
	return errs
}

func validateSame(e, old *corev1.Event) (errs field.ErrorList) {
	same := func(name string, value, was any) {
		if !equality.Semantic.DeepEqual(value, was) {
			errs = append(errs, field.Invalid(field.NewPath(name), value, validation.FieldImmutableErrorMsg))
		}
	}
	reference := func(name string, value, was *corev1.ObjectReference) {
		if !equality.Semantic.DeepEqual(value, was) {
			errs = append(errs, field.Invalid(field.NewPath(name), validate.GoNames{Value: value}, validation.FieldImmutableErrorMsg))
		}
	}
	reference("involvedObject", &e.InvolvedObject, &old.InvolvedObject)
	same("reason", e.Reason, old.Reason)
	same("message", e.Message, old.Message)
	if e.Source != old.Source {
		errs = append(errs, field.Invalid(field.NewPath("source"), validate.GoNames{Value: e.Source}, validation.FieldImmutableErrorMsg))
	}
	same("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	same("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	same("count", e.Count, old.Count)
	same("type", e.Type, old.Type)
	// what is stored has no more than microseconds
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		errs = append(errs, field.Invalid(field.NewPath("eventTime"), e.EventTime, validation.FieldImmutableErrorMsg))
	}
	same("action", e.Action, old.Action)
	reference("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return errs
}

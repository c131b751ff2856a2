package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// handler is what probes and hooks can do.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
	grace int64
}

// validateHandler checks that exactly one action is given, and that one.
func validateHandler(h handler, path *field.Path) (errs field.ErrorList) {
	count := 0
	one := func(name string, set bool, check func(*field.Path) field.ErrorList) {
		if !set {
			return
		}
		if count > 0 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
		} else {
			errs = append(errs, check(path.Child(name))...)
		}
		count++
	}
	one("exec", h.exec != nil, func(at *field.Path) field.ErrorList {
		if len(h.exec.Command) == 0 {
			return field.ErrorList{field.Required(at.Child("command"), "")}
		}
		return nil
	})
	one("httpGet", h.http != nil, func(at *field.Path) field.ErrorList { return validateHTTPGet(h.http, at) })
	one("tcpSocket", h.tcp != nil, func(at *field.Path) field.ErrorList { return ValidatePort(h.tcp.Port, at.Child("port")) })
	one("grpc", h.grpc != nil, func(at *field.Path) field.ErrorList {
		return ValidatePort(intstr.FromInt32(h.grpc.Port), at.Child("port"))
	})
	one("sleep", h.sleep != nil, func(at *field.Path) field.ErrorList {
		if h.sleep.Seconds < 0 || h.sleep.Seconds > h.grace {
			return field.ErrorList{field.Invalid(at, h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", h.grace))}
		}
		return nil
	})
	if count == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(h *corev1.HTTPGetAction, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.Required(h.Path, path.Child("path"))...)
	errs = append(errs, ValidatePort(h.Port, path.Child("port"))...)
	errs = append(errs, validate.Enum(h.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range h.HTTPHeaders {
		errs = append(errs, validate.All(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

// ValidatePort checks a port that is given by number or name.
func ValidatePort(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return validate.All(path, p.IntVal, validation.IsValidPortNum(int(p.IntVal)))
	}
	return validate.All(path, p.StrVal, validation.IsValidPortName(p.StrVal))
}

func validateHook(h *corev1.LifecycleHandler, grace int64, path *field.Path) field.ErrorList {
	return validateHandler(handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep, grace: grace}, path)
}

func validateProbe(p *corev1.Probe, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateHandler(handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, path)...)
	errs = append(errs, validate.NonNegative(p.InitialDelaySeconds, path.Child("initialDelaySeconds"))...)
	errs = append(errs, validate.NonNegative(p.TimeoutSeconds, path.Child("timeoutSeconds"))...)
	errs = append(errs, validate.NonNegative(p.PeriodSeconds, path.Child("periodSeconds"))...)
	errs = append(errs, validate.NonNegative(p.SuccessThreshold, path.Child("successThreshold"))...)
	errs = append(errs, validate.NonNegative(p.FailureThreshold, path.Child("failureThreshold"))...)
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0"))
	}
	return errs
}

// validateSteadyProbe checks a probe that counts one success as enough.
func validateSteadyProbe(p *corev1.Probe, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateProbe(p, path)
	if p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

package framework

import (
	"errors"
	"slices"
	"strings"
)

// Code says how a plugin's call ended.
type Code int

// The codes, as upstream numbers and names them. A nil *Status is Success.
const (
	// Success: the plugin has no objection.
	Success Code = iota
	// Error: an unexpected failure; the pod is retried after a backoff whatever happens in the cluster.
	Error
	// Unschedulable: the pod does not fit; evicting other pods might help.
	Unschedulable
	// UnschedulableAndUnresolvable: the pod does not fit and evicting other pods would not help.
	UnschedulableAndUnresolvable
	// Wait: a Permit plugin wants the pod held before binding.
	Wait
	// Skip: the paired Filter, Score or Bind call has nothing to do for this pod.
	Skip
	// Pending: rejected without a penalty; the pod returns to the active queue without backoff.
	Pending
)

// String answers the code's name as metrics and logs spell it.
func (c Code) String() string {
	names := [...]string{"Success", "Error", "Unschedulable", "UnschedulableAndUnresolvable", "Wait", "Skip", "Pending"}
	if c < 0 || int(c) >= len(names) {
		return "Unknown"
	}
	return names[c]
}

// Status is the immutable answer of a plugin. It may be shared between nodes and goroutines.
type Status struct {
	code    Code
	reasons []string
	err     error
	plugin  string
}

// NewStatus makes a status of a code and human-readable reasons.
func NewStatus(code Code, reasons ...string) *Status {
	return &Status{code: code, reasons: reasons}
}

// AsStatus wraps an error; nil stays nil.
func AsStatus(err error) *Status {
	if err == nil {
		return nil
	}
	return &Status{code: Error, err: err}
}

// WithPlugin answers the status carrying the name of the plugin that gave it.
func (s *Status) WithPlugin(name string) *Status {
	if s == nil || s.plugin == name {
		return s
	}
	named := *s
	named.plugin = name
	return &named
}

// WithError answers the status carrying err, which Err then returns.
func (s *Status) WithError(err error) *Status {
	with := *s
	with.err = err
	return &with
}

// Code answers Success for nil.
func (s *Status) Code() Code {
	if s == nil {
		return Success
	}
	return s.code
}

// Plugin names the plugin the status came from, if known.
func (s *Status) Plugin() string {
	if s == nil {
		return ""
	}
	return s.plugin
}

// Reasons lists why, error first.
func (s *Status) Reasons() []string {
	switch {
	case s == nil:
		return nil
	case s.err != nil:
		return append([]string{s.err.Error()}, s.reasons...)
	default:
		return s.reasons
	}
}

// Message joins the reasons.
func (s *Status) Message() string { return strings.Join(s.Reasons(), ", ") }

// IsSuccess reports Success (or nil).
func (s *Status) IsSuccess() bool { return s.Code() == Success }

// IsSkip reports Skip.
func (s *Status) IsSkip() bool { return s.Code() == Skip }

// IsWait reports Wait.
func (s *Status) IsWait() bool { return s.Code() == Wait }

// IsRejected reports whether the pod was turned down for a reason the cluster's state explains.
func (s *Status) IsRejected() bool {
	return slices.Contains([]Code{Unschedulable, UnschedulableAndUnresolvable, Pending}, s.Code())
}

// Err answers the status as an error; nil for Success, Wait and Skip.
func (s *Status) Err() error {
	switch {
	case s.IsSuccess(), s.IsWait(), s.IsSkip():
		return nil
	case s.err != nil:
		return s.err
	default:
		return errors.New(s.Message())
	}
}

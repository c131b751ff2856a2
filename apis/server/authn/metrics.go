package authn

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Uses of service account tokens that weren't answered out of the token cache,
// under upstream's names. Servers of one process share them.
var (
	staleTokens   = counter("stale_tokens_total", "Cumulative stale projected service account tokens used", metrics.BETA)
	validTokens   = counter("valid_tokens_total", "Cumulative valid projected service account tokens used", metrics.BETA)
	legacyUses    = counter("legacy_tokens_total", "Cumulative legacy service account tokens used", metrics.BETA)
	manualUses    = counter("legacy_manual_token_uses_total", "Cumulative manually created legacy tokens used", metrics.ALPHA)
	generatedUses = counter("legacy_auto_token_uses_total", "Cumulative auto-generated legacy tokens used", metrics.ALPHA)
	invalidUses   = counter("invalid_legacy_auto_token_uses_total", "Cumulative invalid auto-generated legacy tokens used", metrics.ALPHA)
)

var register = sync.OnceFunc(func() { //nolint:gochecknoglobals // the registry is the process's
	legacyregistry.MustRegister(staleTokens, validTokens, legacyUses, manualUses, generatedUses, invalidUses)
})

func counter(name, help string, stability metrics.StabilityLevel) *metrics.Counter {
	return metrics.NewCounter(&metrics.CounterOpts{Subsystem: "serviceaccount", Name: name, Help: help, StabilityLevel: stability})
}

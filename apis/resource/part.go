package resource

import (
	"k8s.io/apiserver/pkg/registry/rest"
)

// Part is what an update strategy for a part of an object embeds: what it
// doesn't say itself is as for the whole object, declared rules included.
type Part struct {
	rest.RESTUpdateStrategy
	rest.DeclarativeValidationStrategy
}

// NewPart embeds the strategy of a store that Definition.Storage built.
func NewPart(main rest.RESTUpdateStrategy) Part {
	declared, _ := main.(rest.DeclarativeValidationStrategy)
	return Part{main, declared}
}

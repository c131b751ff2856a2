package node

import (
	"context"
	"errors"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var errNoRules = errors.New("node authorizer does not support user rule resolution")

// RulesFor implements authorizer.RuleResolver: what a node may depends on its
// pods and can't be listed.
func (z *Authorizer) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, ok := Name(u); ok {
		return nil, nil, true, errNoRules
	}
	return nil, nil, false, nil
}

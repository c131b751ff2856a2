// Package abac decides by a file of policies, one JSON object a line, as
// upstream's mode ABAC reads it: abac.authorization.kubernetes.io/v1beta1, or the
// older lines without a version.
package abac

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const apiVersion = "abac.authorization.kubernetes.io/v1beta1"

// Policies are the lines of a file. They only ever allow.
type Policies []policy

var (
	_ authorizer.Authorizer   = Policies{}
	_ authorizer.RuleResolver = Policies{}
)

// policy allows what all its fields match; "*" matches everything.
type policy struct {
	User            string `json:"user"`
	Group           string `json:"group"`
	Readonly        bool   `json:"readonly"`
	APIGroup        string `json:"apiGroup"`
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace"`
	NonResourcePath string `json:"nonResourcePath"`
}

// Read reads a file. Empty lines and those that begin with # say nothing.
func Read(path string) (Policies, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	all := Policies{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p, err := parse([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("error reading policy file %s, line %d: %s: %w", path, n, line, err)
		}
		all = append(all, p)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("error reading policy file %s: %w", path, err)
	}
	return all, nil
}

func parse(line []byte) (policy, error) {
	var p struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       policy `json:"spec"`
	}
	if err := json.Unmarshal(line, &p); err != nil {
		return policy{}, err
	}
	if p.APIVersion == "" || p.Kind == "" {
		return parseOld(line)
	}
	if p.APIVersion != apiVersion || p.Kind != "Policy" {
		return policy{}, fmt.Errorf("no kind %q is registered for version %q", p.Kind, p.APIVersion)
	}
	return authenticated(p.Spec), nil
}

// parseOld reads a line without a version, in which nothing said means everything.
func parseOld(line []byte) (policy, error) {
	var p policy
	if err := json.Unmarshal(line, &p); err != nil {
		return policy{}, err
	}
	p.APIGroup, p.NonResourcePath = "*", ""
	if p.User == "" && p.Group == "" {
		p.Group = user.AllAuthenticated
	}
	if p.Namespace == "" && p.Resource == "" {
		p.NonResourcePath = "*"
	}
	if p.Namespace == "" {
		p.Namespace = "*"
	}
	if p.Resource == "" {
		p.Resource = "*"
	}
	return authenticated(p), nil
}

// authenticated keeps system:anonymous out of what everybody may.
func authenticated(p policy) policy {
	if p.User == "*" || p.Group == "*" {
		p.User, p.Group = "", user.AllAuthenticated
	}
	return p
}

// Authorize implements authorizer.Authorizer.
func (all Policies) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	for _, p := range all {
		if p.isOf(a.GetUser()) && (!p.Readonly || a.IsReadOnly()) && p.covers(a) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "No policy matched.", nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer: policies know no conditions.
func (all Policies) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(all.Authorize(ctx, a))
}

// EvaluateConditions implements authorizer.Authorizer.
func (Policies) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// isOf says whether the policy is of the user: by name, by group, or by both if
// it gives both.
func (p policy) isOf(u user.Info) bool {
	if u == nil || p.User == "" && p.Group == "" {
		return false
	}
	return (p.User == "" || p.User == u.GetName()) && (p.Group == "" || slices.Contains(u.GetGroups(), p.Group))
}

func (p policy) covers(a authorizer.Attributes) bool {
	if !a.IsResourceRequest() {
		begin, prefix := strings.CutSuffix(p.NonResourcePath, "*")
		return p.NonResourcePath == a.GetPath() || prefix && strings.HasPrefix(a.GetPath(), strings.TrimRight(begin, "*"))
	}
	is := func(want, have string) bool { return want == "*" || want == have }
	return is(p.Namespace, a.GetNamespace()) && is(p.Resource, a.GetResource()) && is(p.APIGroup, a.GetAPIGroup())
}

// RulesFor implements authorizer.RuleResolver.
func (all Policies) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	for _, p := range all {
		if !p.isOf(u) || p.Namespace != "*" && p.Namespace != namespace {
			continue
		}
		verbs := []string{"*"}
		if p.Readonly {
			verbs = []string{"get", "list", "watch"}
		}
		if p.Resource != "" {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: verbs, APIGroups: []string{p.APIGroup}, Resources: []string{p.Resource}})
		}
		if p.NonResourcePath != "" {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: verbs, NonResourceURLs: []string{p.NonResourcePath}})
		}
	}
	return resources, urls, false, nil
}

package configuration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/scheduler/configuration"
	"skiff/scheduler/framework"
)

// filters, scores and both are plugins of these extension points.
type (
	filters string
	scores  string
	both    struct {
		filters
		scores
	}
	prepared struct{ filters }
)

func (p filters) Name() string { return string(p) }
func (p filters) Filter(context.Context, *framework.Cycle, *framework.NodeInfo) *framework.Status {
	return nil
}
func (p scores) Name() string { return string(p) }
func (p scores) Score(context.Context, *framework.Cycle, *framework.NodeInfo) (int64, *framework.Status) {
	return 0, nil
}
func (p both) Name() string { return p.filters.Name() }
func (p prepared) PreFilter(context.Context, *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	return nil, nil
}

// TestPoints merges plugins with A (both, weight 2), B (filter), C (score, weight 3) and P (filter that needs preFilter).
func TestPoints(t *testing.T) {
	defaults := []framework.Enabled{
		{Plugin: both{"A", "A"}, Weight: 2}, {Plugin: filters("B")}, {Plugin: scores("C"), Weight: 3}, {Plugin: prepared{"P"}},
	}
	for name, test := range map[string]struct{ plugins, filter, score, wrong string }{
		"defaults":                    {"{}", "A B P", "A*2 C*3", ""},
		"disabled everywhere":         {"{multiPoint: {disabled: [{name: A}]}}", "B P", "C*3", ""},
		"all disabled everywhere":     {"{multiPoint: {disabled: [{name: '*'}], enabled: [{name: C}, {name: B}]}}", "B", "C*1", ""},
		"another weight":              {"{multiPoint: {enabled: [{name: A, weight: 7}]}}", "A B P", "A*7 C*3", ""},
		"moved behind":                {"{multiPoint: {disabled: [{name: A}], enabled: [{name: A, weight: 7}]}}", "B P A", "C*3 A*7", ""},
		"disabled at a point":         {"{score: {disabled: [{name: A}]}}", "A B P", "C*3", ""},
		"all disabled at a point":     {"{score: {disabled: [{name: '*'}]}}", "A B P", "", ""},
		"only one at a point":         {"{score: {disabled: [{name: '*'}], enabled: [{name: C, weight: 9}]}}", "A B P", "C*9", ""},
		"a weight of a point":         {"{score: {enabled: [{name: C, weight: 9}]}}", "A B P", "C*9 A*2", ""},
		"no weight at a point":        {"{score: {enabled: [{name: C}]}}", "A B P", "C*1 A*2", ""},
		"disabled and enabled anew":   {"{score: {disabled: [{name: A}], enabled: [{name: A, weight: 5}]}}", "A B P", "C*3 A*5", ""},
		"order of a point":            {"{filter: {enabled: [{name: P}, {name: A}]}}", "P A B", "A*2 C*3", ""},
		"only at a point":             {"{multiPoint: {disabled: [{name: A}]}, filter: {enabled: [{name: A}]}}", "B P A", "C*3", ""},
		"both of a pair":              {"{preFilter: {disabled: [{name: P}]}, filter: {disabled: [{name: P}]}}", "A B", "A*2 C*3", ""},
		"half a pair":                 {"{preFilter: {disabled: [{name: P}]}}", "", "", `plugins.preFilter: Invalid value: "P": the plugin is off here and on at filter`},
		"nothing to do there":         {"{score: {enabled: [{name: B}]}}", "", "", `plugins.score.enabled[0]: Invalid value: "B": the plugin has nothing to do at score`},
		"twice at a point":            {"{score: {enabled: [{name: C}, {name: C}]}}", "", "", `plugins.score.enabled[1]: Duplicate value: "C"`},
		"twice everywhere":            {"{multiPoint: {enabled: [{name: C}, {name: C}]}}", "", "", `plugins.multiPoint.enabled: Duplicate value: "C"`},
		"a negative weight":           {"{score: {enabled: [{name: C, weight: -1}]}}", "", "", `plugins.score: Invalid value: "C"`},
		"unknown ones to be disabled": {"{score: {disabled: [{name: X}]}, multiPoint: {disabled: [{name: Z}]}}", "A B P", "A*2 C*3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := configuration.Decode([]byte(header + "profiles: [{plugins: " + test.plugins + "}]"))
			if err != nil {
				t.Fatal(err)
			}
			points, err := configuration.Points(defaults, cfg.Profiles[0].Plugins, field.NewPath("plugins"))
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("got %v, want %s", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var filter, score []string
			for _, e := range points[framework.PointFilter] {
				filter = append(filter, e.Plugin.Name())
			}
			for _, e := range points[framework.PointScore] {
				score = append(score, fmt.Sprintf("%s*%d", e.Plugin.Name(), e.Weight))
			}
			if got := strings.Join(filter, " "); got != test.filter {
				t.Errorf("filter: %s, want %s", got, test.filter)
			}
			if got := strings.Join(score, " "); got != test.score {
				t.Errorf("score: %s, want %s", got, test.score)
			}
		})
	}
}

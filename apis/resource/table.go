package resource

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Column is one column of kubectl get. NAME comes first and AGE after the last
// column of priority 0; a column of that name in the list replaces (and places)
// the one that would be added. Priority 1 is shown with -o wide only.
type Column[T Object] struct {
	Name, Type, Format, Help string
	Priority                 int32
	Value                    func(T) any
	hidden, headless         bool
}

// NameColumn is the NAME column, for a table that puts it elsewhere.
func NameColumn[T Object]() Column[T] {
	return Column[T]{Name: "Name", Type: "string", Format: "name", Help: metav1.ObjectMeta{}.SwaggerDoc()["name"], Value: func(o T) any { return o.GetName() }}
}

// AgeColumn is the AGE column, for a table that puts it elsewhere.
func AgeColumn[T Object]() Column[T] {
	return Column[T]{Name: "Age", Type: "string", Help: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], Value: func(o T) any { return Age(o.GetCreationTimestamp()) }}
}

// NoAge in Columns leaves the AGE column out.
func NoAge[T Object]() Column[T] { return Column[T]{Name: "Age", hidden: true} }

// HeadlessAge in Columns gives the age in the rows and not in the header, which
// is what Kubernetes answers for addresses.
func HeadlessAge[T Object]() Column[T] {
	c := AgeColumn[T]()
	c.headless = true
	return c
}

// Age renders a time as kubectl does: "5m", or "<unknown>" when unset.
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time)) //nolint:forbidigo // what the user's clock says, by design
}

// NewTable answers the convertor for the definition's columns, or the plain
// NAME and CREATED AT when it has none.
func NewTable[T Object](d Definition[T]) rest.TableConvertor {
	if d.Columns == nil {
		return rest.NewDefaultTableConvertor(d.Resource.GroupResource())
	}
	columns := slices.Clone(d.Columns)
	if !slices.ContainsFunc(columns, func(c Column[T]) bool { return c.Name == "Age" }) {
		at := 0
		for i, c := range columns {
			if c.Priority == 0 {
				at = i + 1
			}
		}
		columns = slices.Insert(columns, at, AgeColumn[T]())
	}
	if !slices.ContainsFunc(columns, func(c Column[T]) bool { return c.Name == "Name" }) {
		columns = slices.Insert(columns, 0, NameColumn[T]())
	}
	columns = slices.DeleteFunc(columns, func(c Column[T]) bool { return c.hidden })
	return table[T]{columns, d.Resource.GroupResource(), d.RowConditions, d.FinishList}
}

// table renders columns.
type table[T Object] struct {
	columns    []Column[T]
	gr         schema.GroupResource
	conditions func(T) []metav1.TableRowCondition
	finish     func(list runtime.Object, rows []metav1.TableRow)
}

func (c table[T]) ConvertToTable(_ context.Context, obj, opts runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{Rows: []metav1.TableRow{}}
	row := func(o runtime.Object) error {
		v, ok := o.(T)
		if !ok {
			return fmt.Errorf("%s: cannot print %T", c.gr, o)
		}
		cells := make([]any, 0, len(c.columns))
		for _, col := range c.columns {
			cells = append(cells, col.Value(v))
		}
		r := metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: o}}
		if c.conditions != nil {
			r.Conditions = c.conditions(v)
		}
		t.Rows = append(t.Rows, r)
		return nil
	}
	var err error
	if meta.IsListType(obj) {
		if err = meta.EachListItem(obj, row); err == nil && c.finish != nil {
			c.finish(obj, t.Rows)
		}
	} else {
		err = row(obj)
	}
	if err != nil {
		return nil, err
	}
	if l, err := meta.ListAccessor(obj); err == nil {
		t.ResourceVersion, t.Continue, t.RemainingItemCount = l.GetResourceVersion(), l.GetContinue(), l.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		t.ResourceVersion = m.GetResourceVersion()
	}
	if o, ok := opts.(*metav1.TableOptions); !ok || !o.NoHeaders {
		t.ColumnDefinitions = c.header()
	}
	return t, nil
}

func (c table[T]) header() []metav1.TableColumnDefinition {
	out := make([]metav1.TableColumnDefinition, 0, len(c.columns))
	for _, col := range c.columns {
		if col.headless {
			continue
		}
		out = append(out, metav1.TableColumnDefinition{Name: col.Name, Type: col.Type, Format: col.Format, Description: col.Help, Priority: col.Priority})
	}
	return out
}

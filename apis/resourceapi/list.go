package resourceapi

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A list says what is valid in a list of a spec. What the types declare, too,
// is marked, so that it is said once.
type list[T any] struct {
	most  int // items; negative: any number
	check func(item *T, at *field.Path) field.ErrorList
	key   func(item *T) string // nil: items may repeat

	sizeDeclared, keysDeclared bool
}

// validate checks nothing of a list that is too long but its length.
func (l list[T]) validate(items []T, at *field.Path) (errs field.ErrorList) {
	if l.most >= 0 && len(items) > l.most {
		err := field.TooMany(at, len(items), l.most).WithOrigin("maxItems")
		if l.sizeDeclared {
			err = err.MarkCoveredByDeclarative()
		}
		return field.ErrorList{err}
	}
	for i := range items {
		errs = append(errs, l.check(&items[i], at.Index(i))...)
	}
	if l.key == nil {
		return errs
	}
	seen := map[string]bool{}
	for i := range items {
		key := l.key(&items[i])
		if seen[key] {
			err := field.Duplicate(at.Index(i), key)
			if l.keysDeclared {
				err = err.MarkCoveredByDeclarative()
			}
			errs = append(errs, err)
		}
		seen[key] = true
	}
	return errs
}

func itself(s *string) string { return *s }

// named is what a map of a spec demands of its keys and values.
type named[K ~string, T any] struct {
	longest int // of a key in a path
	name    func(K, *field.Path) field.ErrorList
	check   func(item *T, at *field.Path) field.ErrorList
}

func (n named[K, T]) validate(items map[K]T, at *field.Path) (errs field.ErrorList) {
	for _, key := range slices.Sorted(maps.Keys(items)) {
		item := items[key]
		errs = append(errs, n.name(key, at)...)
		errs = append(errs, n.check(&item, at.Key(shortened(string(key), n.longest)))...)
	}
	return errs
}

// shortened cuts the middle out of what is too long for a path.
func shortened(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	rest := longest - len("...")
	return s[:(rest+1)/2] + "..." + s[len(s)-rest/2:]
}

// Package resource turns one declarative value per API resource into everything
// the generic API server needs: scheme registration, strategies, storage,
// subresources and printer columns.
//
// A stored resource is a [Definition]; a create-only kind that is answered and
// never stored (the reviews) is a [Review]; anything else is a [Virtual], which
// builds its own storages.
package resource

import (
	"context"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/same"
)

// Object is any API type from k8s.io/api.
type Object interface {
	runtime.Object
	metav1.Object
}

// Resource is one installable resource, whatever its Go type.
type Resource interface {
	// GVR is the resource in its preferred version.
	GVR() schema.GroupVersionResource
	// Served lists every group version the same storages are installed under,
	// preferred first. All are of one group.
	Served() []schema.GroupVersion
	// AddToScheme registers the types, conversions, defaults and field labels.
	AddToScheme(*runtime.Scheme)
	// Storage builds the endpoints, keyed "plural" and "plural/subresource".
	Storage(*runtime.Scheme, generic.RESTOptionsGetter) (map[string]rest.Storage, error)
}

// Definition says all there is to say about one stored resource. The zero
// value of every optional field means "the API conventions' default".
type Definition[T Object] struct {
	Resource      schema.GroupVersionResource // plural, e.g. apps/v1 deployments
	Kind          string
	Singular      string
	ShortNames    []string
	Categories    []string
	ClusterScoped bool
	Object        T              // empty prototype; T is the hub type
	List          runtime.Object // empty list prototype

	// Versions are served forms whose Go type is not T, each with its
	// conversion pair. One with the group version of Resource replaces T there
	// (T is then only the hub), the others are served beside it.
	Versions []Version
	// Types are further kinds to register (as versions and hub), such as the
	// bodies and options of subresources.
	Types map[schema.GroupVersion][]runtime.Object
	// Register adds whatever else the scheme needs (url.Values conversions).
	Register func(*runtime.Scheme) error

	// Name checks metadata.name (validation.NameIsDNSSubdomain, ...). When set,
	// metadata is validated as a whole before Validate is called on create; when
	// nil, only what every object must satisfy is checked. Updates of metadata
	// are always checked; NameOnce leaves the name out of that.
	Name     func(name string, prefix bool) []string
	NameOnce bool

	Default      func(T)                                               // fills unset fields on decode
	Prepare      func(ctx context.Context, obj, old T)                 // before validation; old is nil on create; status is reset already
	Validate     func(ctx context.Context, obj, old T) field.ErrorList // old is nil on create
	Warn         func(ctx context.Context, obj, old T) []string        // old is nil on create
	Canonicalize func(T)                                               // after validation

	// Spec points to the spec: /status can't change it, and a change of it
	// bumps metadata.generation, unless NoGeneration.
	Spec         func(T) any
	NoGeneration bool                  // upstream keeps no generation for this kind
	Changed      func(obj, old T) bool // replaces "the spec differs" for the generation

	// Status points to the status: serves /status, is reset everywhere else.
	Status         func(T) any
	KeepStatus     bool                                  // a status sent on create is kept (nodes)
	PrepareStatus  func(ctx context.Context, obj, old T) // on /status, after the spec was put back
	ValidateStatus func(ctx context.Context, obj, old T) field.ErrorList
	WarnStatus     func(ctx context.Context, obj, old T) []string

	// ResetFields are dotted paths that managedFields must not own after a
	// write; nil means "status" for the main endpoint, "spec" for /status.
	ResetFields, StatusResetFields []string

	Fields       func(T) fields.Set // selectable beyond metadata.name/namespace; also called on Object
	FieldAliases map[string]string  // old field label -> its present name
	Indexed      []string           // keys of Fields the watch cache indexes (spec.nodeName)

	// GracefulDelete decides whether a delete is only begun, and must then set
	// options.GracePeriodSeconds. Nil means deletion is immediate.
	GracefulDelete func(ctx context.Context, obj T, options *metav1.DeleteOptions) bool
	// ReturnDeleted has a delete answer the deleted object, not a Status.
	ReturnDeleted bool
	// Collect is what happens to dependents when the caller doesn't say;
	// empty means rest.DeleteDependents.
	Collect rest.GarbageCollectionPolicy

	Columns []Column[T] // see Column; nil prints NAME and CREATED AT
	// RowConditions tells tables of objects that have ended; FinishList changes
	// the rows of a list by what stands in other rows.
	RowConditions func(T) []metav1.TableRowCondition
	FinishList    func(list runtime.Object, rows []metav1.TableRow)

	// Store adjusts the main store before anything is built from it: TTLFunc,
	// BeginCreate, AfterDelete, Decorator, ShouldDeleteDuringUpdate, ...
	Store func(*registry.Store) error
	// Main replaces the main endpoint, usually by a struct embedding it.
	Main func(*Endpoint) rest.Storage
	// Subresources are built from the main store (copy it to change strategies).
	Subresources map[string]func(*registry.Store) rest.Storage

	// Gates are the options that the declared validation of the kind asks for
	// (usually feature gates); Normalize relates its field paths to those of
	// Validate. See ValidateDeclaratively.
	Gates     map[string]bool
	Normalize []field.NormalizationRule

	CreateOnUpdate        bool // PUT may create (leases, endpoints, ...)
	NoUnconditionalUpdate bool // PUT needs a resourceVersion
}

// GVR implements Resource.
func (d Definition[T]) GVR() schema.GroupVersionResource { return d.Resource }

// Served implements Resource.
func (d Definition[T]) Served() []schema.GroupVersion {
	return servedIn(d.Resource.GroupVersion(), d.Versions)
}

func servedIn(preferred schema.GroupVersion, versions []Version) []schema.GroupVersion {
	out := []schema.GroupVersion{preferred}
	for _, v := range versions {
		if v.GroupVersion != preferred {
			out = append(out, v.GroupVersion)
		}
	}
	return out
}

// specChanged reports whether obj and old differ in what the user asked for.
func (d Definition[T]) specChanged(obj, old T) bool {
	if d.Changed != nil {
		return d.Changed(obj, old)
	}
	return d.Spec != nil && !same.Meaning(d.Spec(obj), d.Spec(old))
}

func set(dst, src any) { reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src).Elem()) }

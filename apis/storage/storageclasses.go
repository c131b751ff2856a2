package storage

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
	"skiff/internal/defaultclass"
)

const (
	maxParameters     = 512
	maxParametersSize = 256 * (1 << 10)
)

func storageClasses() resource.Definition[*storagev1.StorageClass] {
	type C = *storagev1.StorageClass
	return resource.Definition[C]{
		Resource:      group.WithResource("storageclasses"),
		Kind:          "StorageClass",
		ReturnDeleted: true,
		Singular:      "storageclass",
		ShortNames:    []string{"sc"},
		ClusterScoped: true,
		Object:        &storagev1.StorageClass{},
		List:          &storagev1.StorageClassList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default:       defaultStorageClass,
		Validate:      validateStorageClass,
		Warn:          warnStorageClass,
		Columns:       storageClassColumns(),
		FinishList:    markDefault,
	}
}

func defaultStorageClass(c *storagev1.StorageClass) {
	if c.ReclaimPolicy == nil {
		policy := corev1.PersistentVolumeReclaimDelete
		c.ReclaimPolicy = &policy
	}
	if c.VolumeBindingMode == nil {
		mode := storagev1.VolumeBindingImmediate
		c.VolumeBindingMode = &mode
	}
}

func validateStorageClass(_ context.Context, obj, old *storagev1.StorageClass) (errs field.ErrorList) {
	if obj.Provisioner == "" {
		errs = append(errs, field.Required(field.NewPath("provisioner"), "").MarkCoveredByDeclarative())
	} else {
		errs = append(errs, validate.QualifiedName(strings.ToLower(obj.Provisioner), field.NewPath("provisioner"))...)
	}
	errs = append(errs, validateParameters(obj.Parameters, true, field.NewPath("parameters"))...)
	if p := obj.ReclaimPolicy; p != nil && *p != "" {
		errs = append(errs, validate.Enum(*p, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if m := obj.VolumeBindingMode; m == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	} else {
		errs = append(errs, validate.Enum(*m, field.NewPath("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	return append(errs, validateTopologies(obj.AllowedTopologies, field.NewPath("allowedTopologies"))...)
}

func validateParameters(params map[string]string, allowEmpty bool, at *field.Path) (errs field.ErrorList) {
	if len(params) > maxParameters {
		errs = append(errs, field.TooLong(at, "", maxParameters))
		return errs
	}
	size := 0
	for k, v := range params {
		if k == "" {
			errs = append(errs, field.Invalid(at, k, "field can not be empty."))
		}
		size += len(k) + len(v)
	}
	if size > maxParametersSize {
		errs = append(errs, field.TooLong(at, "", maxParametersSize))
	}
	if !allowEmpty && len(params) == 0 {
		errs = append(errs, field.Required(at, "must contain at least one key/value pair"))
	}
	return errs
}

func validateTopologies(terms []corev1.TopologySelectorTerm, at *field.Path) (errs field.ErrorList) {
	// one empty term for each that is given: a term that says nothing is
	// therefore always a duplicate
	seen := make([]map[string][]string, len(terms))
	for i, term := range terms {
		expressions, more := validateTopologyTerm(term, at.Index(i))
		errs = append(errs, more...)
		for _, other := range seen {
			if equality.Semantic.DeepEqual(other, expressions) {
				errs = append(errs, field.Duplicate(at.Index(i).Child("matchLabelExpressions"), ""))
			}
		}
		seen = append(seen, expressions)
	}
	return errs
}

// validateTopologyTerm also answers the term's values by key, sorted.
func validateTopologyTerm(term corev1.TopologySelectorTerm, at *field.Path) (map[string][]string, field.ErrorList) {
	var errs field.ErrorList
	out := map[string][]string{}
	for i, e := range term.MatchLabelExpressions {
		here := at.Child("matchLabelExpressions").Index(i)
		var values []string
		if len(e.Values) == 0 {
			errs = append(errs, field.Required(here.Child("values"), ""))
		}
		for j, v := range e.Values {
			if slices.Contains(values, v) {
				errs = append(errs, field.Duplicate(here.Child("values").Index(j), v))
				continue
			}
			values = append(values, v)
		}
		errs = append(errs, metavalidation.ValidateLabelName(e.Key, here.Child("key"))...)
		if _, dup := out[e.Key]; dup {
			errs = append(errs, field.Duplicate(here.Child("key"), e.Key))
		}
		slices.Sort(values)
		out[e.Key] = values
	}
	return out, errs
}

// markDefault marks the class that claims get which name none.
func markDefault(list runtime.Object, rows []metav1.TableRow) {
	classes, ok := list.(*storagev1.StorageClassList)
	if !ok {
		return
	}
	all := make([]*storagev1.StorageClass, len(classes.Items))
	for i := range all {
		all[i] = &classes.Items[i]
	}
	if i := slices.Index(all, defaultclass.Of(all)); i >= 0 && i < len(rows) {
		rows[i].Cells[0] = all[i].Name + " (default)"
	}
}

func storageClassColumns() []resource.Column[*storagev1.StorageClass] {
	type C = *storagev1.StorageClass
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return []resource.Column[C]{
		{Name: "Provisioner", Type: "string", Help: doc["provisioner"], Value: func(c C) any { return c.Provisioner }},
		{Name: "ReclaimPolicy", Type: "string", Help: doc["reclaimPolicy"], Value: func(c C) any { return orDefault(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete) }},
		{Name: "VolumeBindingMode", Type: "string", Help: doc["volumeBindingMode"], Value: func(c C) any { return orDefault(c.VolumeBindingMode, storagev1.VolumeBindingImmediate) }},
		{Name: "AllowVolumeExpansion", Type: "string", Help: doc["allowVolumeExpansion"], Value: func(c C) any { return c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion }},
	}
}

func orDefault[S ~string](p *S, value S) string {
	if p == nil {
		return string(value)
	}
	return string(*p)
}

// driverName checks the name of a CSI driver.
func driverName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(name) > 63 {
		errs = append(errs, field.TooLong(at, name, 63))
	}
	return append(errs, validate.All(at, name, utilvalidation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateEnv(vars []corev1.EnvVar, path *field.Path) (errs field.ErrorList) {
	for i := range vars {
		v, at := &vars[i], path.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, validate.All(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))...)
		}
		if v.ValueFrom != nil {
			errs = append(errs, validateEnvSource(v, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateEnvSource(v *corev1.EnvVar, path *field.Path) (errs field.ErrorList) {
	from, sources := v.ValueFrom, 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, validateFieldRef(from.FieldRef, envFields, path.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, validateResourceRef(from.ResourceFieldRef, false, path.Child("resourceFieldRef"))...)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("configMapKeyRef"))...)
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("secretKeyRef"))...)
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		errs = append(errs, validateFileRef(r, path.Child("fileKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateKeyRef(name, key string, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.All(path.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, false))...)
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, validate.All(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFileRef(r *corev1.FileKeySelector, path *field.Path) (errs field.ErrorList) {
	if r.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	} else {
		errs = append(errs, validate.All(path.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))...)
	}
	if r.VolumeName == "" {
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	} else {
		errs = append(errs, validate.DNSLabel(r.VolumeName, path.Child("volumeName"))...)
	}
	switch {
	case r.Path == "":
		errs = append(errs, field.Required(path.Child("path"), ""))
	case hasBackstep(r.Path):
		errs = append(errs, field.Invalid(path.Child("path"), r.Path, "must not contain '..'"))
	}
	return errs
}

// checkFileRefs checks that variables come from files in volumes that are empty
// when the pod starts.
func (c *checker) checkFileRefs(path *field.Path) (errs field.ErrorList) {
	volumes := map[string]*corev1.Volume{}
	for i := range c.spec.Volumes {
		volumes[c.spec.Volumes[i].Name] = &c.spec.Volumes[i]
	}
	eachContainer(c.spec, path, func(ctr *corev1.Container, at *field.Path) {
		for i, v := range ctr.Env {
			if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
				continue
			}
			name, here := v.ValueFrom.FileKeyRef.VolumeName, at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			if volume := volumes[name]; volume == nil {
				errs = append(errs, field.NotFound(here, name))
			} else if volume.EmptyDir == nil {
				errs = append(errs, field.Invalid(here, name, "referenced volume must be of type emptyDir"))
			}
		}
	})
	return errs
}

func validateEnvFrom(sources []corev1.EnvFromSource, path *field.Path) (errs field.ErrorList) {
	for i, s := range sources {
		at := path.Index(i)
		if s.Prefix != "" {
			errs = append(errs, validate.All(at.Child("prefix"), s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))...)
		}
		count := 0
		name := func(child, value string) {
			count++
			if value == "" {
				errs = append(errs, field.Required(at.Child(child, "name"), ""))
				return
			}
			errs = append(errs, validate.All(at.Child(child, "name"), value, apivalidation.NameIsDNSSubdomain(value, false))...)
		}
		if s.ConfigMapRef != nil {
			name("configMapRef", s.ConfigMapRef.Name)
		}
		if s.SecretRef != nil {
			name("secretRef", s.SecretRef.Name)
		}
		switch {
		case count == 0:
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		case count > 1:
			errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

var (
	envFields    = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	volumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	labelFields  = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.host", "spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
)

func validateFieldRef(r *corev1.ObjectFieldSelector, known []string, path *field.Path) field.ErrorList {
	if r.APIVersion == "" {
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	}
	at := path.Child("fieldPath")
	if r.FieldPath == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	label, subscript, hasSubscript := splitSubscript(r.FieldPath)
	switch {
	case r.APIVersion != "v1":
		return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)}
	case hasSubscript && label != "metadata.annotations" && label != "metadata.labels", !hasSubscript && !slices.Contains(labelFields, label):
		return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)}
	case hasSubscript && label == "metadata.annotations":
		return validate.All(at, r.FieldPath, validation.IsQualifiedName(strings.ToLower(subscript)))
	case hasSubscript:
		return validate.All(at, r.FieldPath, validation.IsQualifiedName(subscript))
	case !slices.Contains(known, label):
		return field.ErrorList{field.NotSupported(at, label, known)}
	}
	return nil
}

// splitSubscript takes "metadata.labels['x']" apart.
func splitSubscript(path string) (label, subscript string, ok bool) {
	rest, ok := strings.CutSuffix(path, "']")
	if !ok {
		return path, "", false
	}
	label, subscript, ok = strings.Cut(rest, "['")
	if !ok || label == "" {
		return path, "", false
	}
	return label, subscript, true
}

var resourceFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}

func validateResourceRef(r *corev1.ResourceFieldSelector, volume bool, path *field.Path) (errs field.ErrorList) {
	huge := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-")
	switch {
	case volume && r.ContainerName == "":
		return field.ErrorList{field.Required(path.Child("containerName"), "")}
	case r.Resource == "":
		return field.ErrorList{field.Required(path.Child("resource"), "")}
	case !slices.Contains(resourceFields, r.Resource) && !huge:
		return field.ErrorList{field.NotSupported(path.Child("resource"), r.Resource, resourceFields)}
	}
	if r.Divisor.Sign() == 0 && r.Divisor.Format == "" || r.Divisor.IsZero() {
		return nil
	}
	_, name, _ := strings.Cut(r.Resource, ".")
	divisor := r.Divisor.String()
	bytes := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	switch {
	case name == "cpu" && divisor != "1m" && divisor != "1":
		errs = append(errs, field.Invalid(path.Child("divisor"), r.Resource, "only divisor's values 1m and 1 are supported with the cpu resource"))
	case name != "cpu" && !slices.Contains(bytes, divisor):
		text := name
		if huge {
			text = "hugepages"
		} else if name == "ephemeral-storage" {
			text = "local ephemeral storage"
		}
		errs = append(errs, field.Invalid(path.Child("divisor"), r.Resource, fmt.Sprintf("only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the %s resource", text)))
	}
	return errs
}

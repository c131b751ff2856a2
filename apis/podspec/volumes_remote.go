package podspec

import (
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// ValidateHostPath checks a directory or file of the host.
func ValidateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) (errs field.ErrorList) {
	if h.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	if hasBackstep(h.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), h.Path, "must not contain '..'"))
	}
	if h.Type != nil {
		errs = append(errs, validate.Enum(*h.Type, at.Child("type"), corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)...)
	}
	return errs
}

func validateDisk(id, name string, partition int32, at *field.Path) field.ErrorList {
	errs := validate.Required(id, at.Child(name))
	if partition < 0 || partition > 255 {
		errs = append(errs, field.Invalid(at.Child("partition"), partition, "must be between 1 and 255, inclusive"))
	}
	return errs
}

// ValidateDisk checks a cloud disk: its identifier, whose field is name, and partition.
func ValidateDisk(id, name string, partition int32, at *field.Path) field.ErrorList {
	return validateDisk(id, name, partition, at)
}

// ValidateNFS checks an NFS export.
func ValidateNFS(n *corev1.NFSVolumeSource, at *field.Path) field.ErrorList {
	errs := validate.Required(n.Server, at.Child("server"))
	errs = append(errs, validate.Required(n.Path, at.Child("path"))...)
	if !path.IsAbs(n.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

// ISCSI is what pods' and persistent volumes' ISCSI sources have in common.
type ISCSI struct {
	Portal, IQN   string
	LUN           int32
	Initiator     *string
	CHAP, HasAuth bool
	// Volume is the name of the volume that an initiator's name is joined with.
	Volume string
	// Strict has every bad name called one of a wrong format, without a hint.
	Strict bool
}

var iscsiInitiator = regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$|eui\.[[:alnum:]]{16}$|naa\.[[:alnum:]]{32}$`)

// ValidateISCSI checks an ISCSI source.
func ValidateISCSI(i ISCSI, at *field.Path) field.ErrorList {
	errs := validate.Required(i.Portal, at.Child("targetPortal"))
	if i.Strict && i.Initiator != nil && len(i.Volume+":"+i.Portal) > 64 {
		errs = append(errs, field.Invalid(at.Child("targetportal"), i.Portal, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."))
	}
	if i.IQN == "" {
		errs = append(errs, field.Required(at.Child("iqn"), ""))
	} else {
		errs = append(errs, validateInitiator(i.IQN, i.Strict, at.Child("iqn"))...)
	}
	if i.LUN < 0 || i.LUN > 255 {
		errs = append(errs, field.Invalid(at.Child("lun"), i.LUN, validation.InclusiveRangeError(0, 255)))
	}
	if i.CHAP && !i.HasAuth {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	if i.Initiator != nil {
		errs = append(errs, validateInitiator(*i.Initiator, i.Strict, at.Child("initiatorname"))...)
	}
	return errs
}

func validateInitiator(name string, strict bool, at *field.Path) field.ErrorList {
	known := strings.HasPrefix(name, "iqn") || strings.HasPrefix(name, "eui") || strings.HasPrefix(name, "naa")
	switch {
	case !known && !strict:
		return field.ErrorList{field.Invalid(at, name, "must be valid format starting with iqn, eui, or naa")}
	case !known, !iscsiInitiator.MatchString(name):
		return field.ErrorList{field.Invalid(at, name, "must be valid format")}
	}
	return nil
}

// ValidateFlocker checks a Flocker dataset.
func ValidateFlocker(f *corev1.FlockerVolumeSource, at *field.Path) (errs field.ErrorList) {
	switch {
	case f.DatasetName == "" && f.DatasetUUID == "":
		return field.ErrorList{field.Required(at, "one of datasetName and datasetUUID is required")}
	case f.DatasetName != "" && f.DatasetUUID != "":
		errs = append(errs, field.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(f.DatasetName, "/") {
		errs = append(errs, field.Invalid(at.Child("datasetName"), f.DatasetName, "must not contain '/'"))
	}
	return errs
}

// ValidateMonitors checks the monitors of a Ceph cluster.
func ValidateMonitors(monitors []string, at *field.Path) field.ErrorList {
	if len(monitors) == 0 {
		return field.ErrorList{field.Required(at.Child("monitors"), "")}
	}
	return nil
}

// ValidateRBD checks a Ceph block device.
func ValidateRBD(monitors []string, image string, at *field.Path) field.ErrorList {
	return append(ValidateMonitors(monitors, at), validate.Required(image, at.Child("image"))...)
}

// ValidateQuobyte checks a Quobyte volume.
func ValidateQuobyte(q *corev1.QuobyteVolumeSource, at *field.Path) (errs field.ErrorList) {
	registry := at.Child("registry")
	switch {
	case q.Registry == "":
		errs = append(errs, field.Required(registry, "must be a host:port pair or multiple pairs separated by commas"))
	case len(q.Tenant) >= 65:
		errs = append(errs, field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for pair := range strings.SplitSeq(q.Registry, ",") {
			if host, port, ok := strings.Cut(pair, ":"); !ok || host == "" || port == "" {
				errs = append(errs, field.Invalid(registry, q.Registry, "must be a host:port pair or multiple pairs separated by commas"))
			}
		}
	}
	return append(errs, validate.Required(q.Volume, at.Child("volume"))...)
}

// ValidateFC checks a Fibre Channel target.
func ValidateFC(f *corev1.FCVolumeSource, at *field.Path) (errs field.ErrorList) {
	switch {
	case len(f.TargetWWNs) == 0 && len(f.WWIDs) == 0:
		errs = append(errs, field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
	case len(f.TargetWWNs) > 0 && len(f.WWIDs) > 0:
		errs = append(errs, field.Invalid(at.Child("targetWWNs"), f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	if len(f.TargetWWNs) > 0 {
		switch {
		case f.Lun == nil:
			errs = append(errs, field.Required(at.Child("lun"), "lun is required if targetWWNs is specified"))
		case *f.Lun < 0 || *f.Lun > 255:
			errs = append(errs, field.Invalid(at.Child("lun"), f.Lun, validation.InclusiveRangeError(0, 255)))
		}
	}
	return errs
}

// ValidateFlex checks a flex volume.
func ValidateFlex(driver string, options map[string]string, at *field.Path) field.ErrorList {
	errs := validate.Required(driver, at.Child("driver"))
	for k := range options {
		namespace := k
		if i := strings.Index(k, "/"); i >= 0 {
			namespace = k[:i]
		}
		if n := "." + namespace; strings.HasSuffix(n, ".kubernetes.io") || strings.HasSuffix(n, ".k8s.io") {
			errs = append(errs, field.Invalid(at.Child("options").Key(k), k, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
	return errs
}

const (
	azureBlobURI    = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	azureManagedURI = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
)

// ValidateAzureDisk checks an Azure disk.
func ValidateAzureDisk(d *corev1.AzureDiskVolumeSource, at *field.Path) field.ErrorList {
	errs := validate.Required(d.DiskName, at.Child("diskName"))
	errs = append(errs, validate.Required(d.DataDiskURI, at.Child("diskURI"))...)
	if d.CachingMode != nil {
		errs = append(errs, validate.Enum(*d.CachingMode, at.Child("cachingMode"), corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	}
	if d.Kind == nil {
		return errs
	}
	errs = append(errs, validate.Enum(*d.Kind, at.Child("kind"), corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
	managed := *d.Kind == corev1.AzureManagedDisk
	if managed && !strings.HasPrefix(d.DataDiskURI, "/subscriptions/") {
		errs = append(errs, field.NotSupported(at.Child("diskURI"), d.DataDiskURI, []string{azureManagedURI}))
	}
	if !managed && !strings.HasPrefix(d.DataDiskURI, "https://") {
		errs = append(errs, field.NotSupported(at.Child("diskURI"), d.DataDiskURI, []string{azureBlobURI}))
	}
	return errs
}

// ValidateStorageOS checks a StorageOS volume.
func ValidateStorageOS(volume, namespace string, at *field.Path) (errs field.ErrorList) {
	if volume == "" {
		errs = append(errs, field.Required(at.Child("volumeName"), ""))
	} else {
		errs = append(errs, validate.DNSLabel(volume, at.Child("volumeName"))...)
	}
	if namespace != "" {
		errs = append(errs, validate.DNSLabel(namespace, at.Child("volumeNamespace"))...)
	}
	return errs
}

// ValidateScaleIO checks a ScaleIO volume.
func ValidateScaleIO(gateway, system, volume string, at *field.Path) field.ErrorList {
	errs := validate.Required(gateway, at.Child("gateway"))
	errs = append(errs, validate.Required(system, at.Child("system"))...)
	return append(errs, validate.Required(volume, at.Child("volumeName"))...)
}

// ValidateCSIDriverName checks the name of a CSI driver.
func ValidateCSIDriverName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(name) > 63 {
		errs = append(errs, field.TooLong(at, name, 63))
	}
	return append(errs, validate.All(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

// ValidateLocal checks a directory or disk of a node.
func ValidateLocal(l *corev1.LocalVolumeSource, at *field.Path) field.ErrorList {
	switch {
	case l.Path == "":
		return field.ErrorList{field.Required(at.Child("path"), "")}
	case hasBackstep(l.Path):
		return field.ErrorList{field.Invalid(at.Child("path"), l.Path, "must not contain '..'")}
	}
	return nil
}

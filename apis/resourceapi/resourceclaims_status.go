package resourceapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateClaimStatus(obj, old *resourcev1.ResourceClaim) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at, s := field.NewPath("status"), &obj.Status
	errs = append(errs, list[resourcev1.ResourceClaimConsumerReference]{
		most: resourcev1.ResourceClaimReservedForMaxSize, sizeDeclared: true,
		check: validateConsumer,
		key:   func(r *resourcev1.ResourceClaimConsumerReference) string { return string(r.UID) }, keysDeclared: true,
	}.validate(s.ReservedFor, at.Child("reservedFor"))...)
	errs = append(errs, validateDeviceStatuses(s, at.Child("devices"))...)
	errs = append(errs, validateReservations(obj, &old.Status, at.Child("reservedFor"))...)
	switch allocation := at.Child("allocation"); {
	case s.Allocation == nil:
	case old.Status.Allocation == nil:
		errs = append(errs, validateAllocation(s.Allocation, namesOf(&obj.Spec.Devices), allocation)...)
	case !equality.Semantic.DeepEqual(s.Allocation, old.Status.Allocation):
		errs = append(errs, field.Invalid(allocation, nil, validation.FieldImmutableErrorMsg).WithOrigin("update").MarkCoveredByDeclarative())
	}
	return errs
}

func validateConsumer(r *resourcev1.ResourceClaimConsumerReference, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.Required(r.Resource, at.Child("resource"))...)
	errs = append(errs, validate.Required(r.Name, at.Child("name"))...)
	return append(errs, validate.Required(string(r.UID), at.Child("uid"))...)
}

// validateReservations lets nobody reserve what isn't allocated, or is going.
func validateReservations(obj *resourcev1.ResourceClaim, old *resourcev1.ResourceClaimStatus, at *field.Path) field.ErrorList {
	if len(obj.Status.ReservedFor) == 0 {
		return nil
	}
	if obj.Status.Allocation == nil {
		return field.ErrorList{field.Forbidden(at, "may not be specified when `allocated` is not set")}
	}
	isNew := func(r resourcev1.ResourceClaimConsumerReference) bool { return !slices.Contains(old.ReservedFor, r) }
	if obj.DeletionTimestamp != nil && slices.ContainsFunc(obj.Status.ReservedFor, isNew) {
		return field.ErrorList{field.Forbidden(at, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")}
	}
	return nil
}

// validateAllocation checks a new allocation; one that is there is not looked
// at again, as the rules have become stricter.
func validateAllocation(a *resourcev1.AllocationResult, names []string, at *field.Path) (errs field.ErrorList) {
	devices := at.Child("devices")
	errs = append(errs, list[resourcev1.DeviceRequestAllocationResult]{
		most: resourcev1.AllocationResultsMaxSize, sizeDeclared: true,
		check: func(r *resourcev1.DeviceRequestAllocationResult, at *field.Path) field.ErrorList {
			return validateResult(r, names, at)
		},
	}.validate(a.Devices.Results, devices.Child("results"))...)
	errs = append(errs, list[resourcev1.DeviceAllocationConfiguration]{
		most: 2 * resourcev1.DeviceConfigMaxSize, sizeDeclared: true, // the class's and the claim's
		check: func(c *resourcev1.DeviceAllocationConfiguration, at *field.Path) (errs field.ErrorList) {
			if c.Source == "" {
				errs = append(errs, field.Required(at.Child("source"), "").MarkCoveredByDeclarative())
			} else {
				errs = append(errs, validate.Enum(c.Source, at.Child("source"), resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass).MarkCoveredByDeclarative()...)
			}
			errs = append(errs, validateMentioned(c.Requests, names, at.Child("requests"))...)
			return append(errs, validateConfiguration(&c.DeviceConfiguration, false, at)...)
		},
	}.validate(a.Devices.Config, devices.Child("config"))...)
	if a.NodeSelector != nil {
		errs = append(errs, podspec.ValidateNodeSelector(a.NodeSelector, at.Child("nodeSelector"))...)
	}
	return errs
}

func validateResult(r *resourcev1.DeviceRequestAllocationResult, names []string, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateMention(r.Request, names, at.Child("request"))...)
	errs = append(errs, validateDriver(r.Driver, at.Child("driver"))...)
	errs = append(errs, validatePoolName(r.Pool, at.Child("pool")).MarkCoveredByDeclarative()...)
	errs = append(errs, validate.DNSLabel(r.Device, at.Child("device"))...)
	errs = append(errs, validateBinding(r.BindingConditions, r.BindingFailureConditions, at)...)
	for i := range r.Tolerations {
		errs = append(errs, validateToleration(&r.Tolerations[i], at.Child("tolerations").Index(i))...)
	}
	if r.ShareID != nil {
		errs = append(errs, validateUID(string(*r.ShareID), at.Child("shareID"))...)
	}
	return errs
}

func validateUID(uid string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if err := uuid.Validate(uid); err != nil {
		errs = append(errs, field.Invalid(at, uid, fmt.Sprintf("error validating uid: %v", err)))
	} else if len(uid) != 36 || uid != strings.ToLower(uid) {
		errs = append(errs, field.Invalid(at, uid, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"))
	}
	return errs.WithOrigin("format=k8s-uuid").MarkCoveredByDeclarative()
}

// device is how an error shows a device, or its share.
type device struct{ Driver, Pool, Device, ShareID string }

func allocatedDevices(s *resourcev1.ResourceClaimStatus) map[device]bool {
	out := map[device]bool{}
	if s.Allocation == nil {
		return out
	}
	for _, r := range s.Allocation.Devices.Results {
		d := device{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
		if r.ShareID != nil {
			d.ShareID = string(*r.ShareID)
		}
		out[d] = true
	}
	return out
}

func idOf(d *resourcev1.AllocatedDeviceStatus) device {
	out := device{Driver: d.Driver, Pool: d.Pool, Device: d.Device}
	if d.ShareID != nil {
		out.ShareID = *d.ShareID
	}
	return out
}

// dropDeallocated forgets the status of devices that the claim has no more.
func dropDeallocated(s, old *resourcev1.ResourceClaimStatus) {
	now, was := allocatedDevices(s), allocatedDevices(old)
	s.Devices = slices.DeleteFunc(s.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
		id := idOf(&d)
		return was[id] && !now[id]
	})
	if len(s.Devices) == 0 {
		s.Devices = nil
	}
}

func validateDeviceStatuses(s *resourcev1.ResourceClaimStatus, at *field.Path) field.ErrorList {
	allocated := allocatedDevices(s)
	return list[resourcev1.AllocatedDeviceStatus]{
		most: -1,
		check: func(d *resourcev1.AllocatedDeviceStatus, at *field.Path) field.ErrorList {
			return validateDeviceStatus(d, allocated, at)
		},
		key: func(d *resourcev1.AllocatedDeviceStatus) string {
			return fmt.Sprint(idOf(d))
		}, keysDeclared: true,
	}.validate(s.Devices, at)
}

func validateDeviceStatus(d *resourcev1.AllocatedDeviceStatus, allocated map[device]bool, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, podspec.ValidateCSIDriverName(d.Driver, at.Child("driver"))...)
	errs = append(errs, validatePoolName(d.Pool, at.Child("pool"))...)
	errs = append(errs, validate.DNSLabel(d.Device, at.Child("device"))...)
	if d.ShareID != nil {
		errs = append(errs, validateUID(*d.ShareID, at.Child("shareID"))...)
	}
	if id := idOf(d); !allocated[id] {
		errs = append(errs, field.Invalid(at, id, "must be an allocated device in the claim"))
	}
	if len(d.Conditions) > resourcev1.AllocatedDeviceStatusMaxConditions {
		errs = append(errs, field.TooMany(at.Child("conditions"), len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions))
	}
	errs = append(errs, metavalidation.ValidateConditions(d.Conditions, at.Child("conditions"))...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		errs = append(errs, validateObject(d.Data, resourcev1.AllocatedDeviceStatusDataMaxLength, at.Child("data"))...)
	}
	if d.NetworkData == nil {
		return errs
	}
	network := at.Child("networkData")
	if len(d.NetworkData.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		errs = append(errs, field.TooLong(network.Child("interfaceName"), "", resourcev1.NetworkDeviceDataInterfaceNameMaxLength).WithOrigin("maxBytes").MarkCoveredByDeclarative())
	}
	if len(d.NetworkData.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		errs = append(errs, field.TooLong(network.Child("hardwareAddress"), "", resourcev1.NetworkDeviceDataHardwareAddressMaxLength).WithOrigin("maxBytes").MarkCoveredByDeclarative())
	}
	return append(errs, list[string]{
		most: resourcev1.NetworkDeviceDataMaxIPs, sizeDeclared: true,
		check: func(ip *string, at *field.Path) field.ErrorList {
			return utilvalidation.IsValidInterfaceAddress(at, *ip)
		},
		key: itself, keysDeclared: true,
	}.validate(d.NetworkData.IPs, network.Child("ips"))...)
}

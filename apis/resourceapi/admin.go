package resourceapi

import (
	"context"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
)

// admin guards access to devices beside their users (KEP-5018): only claims in
// namespaces that are labelled for it may ask for that.
type admin struct{ client kubernetes.Interface }

// asked checks the requests of a new claim.
func (a admin) asked(ctx context.Context, namespace string, requests []resourcev1.DeviceRequest) field.ErrorList {
	for i := range requests {
		if e := requests[i].Exactly; e != nil && e.AdminAccess != nil && *e.AdminAccess {
			return a.allowed(ctx, namespace, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

// granted checks the results of a new allocation.
func (a admin) granted(ctx context.Context, namespace string, now, old *resourcev1.AllocationResult) field.ErrorList {
	if firstAdmin(old) >= 0 {
		return nil
	}
	if i := firstAdmin(now); i >= 0 {
		return a.allowed(ctx, namespace, field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess"))
	}
	return nil
}

func firstAdmin(r *resourcev1.AllocationResult) int {
	if r == nil {
		return -1
	}
	for i := range r.Devices.Results {
		if v := r.Devices.Results[i].AdminAccess; v != nil && *v {
			return i
		}
	}
	return -1
}

func (a admin) allowed(ctx context.Context, namespace string, at *field.Path) field.ErrorList {
	const label = resourcev1.DRAAdminNamespaceLabelKey
	ns, err := a.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case err != nil:
		return field.ErrorList{field.InternalError(at, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	case ns.Labels[label] != "true":
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", label))}
	}
	return nil
}

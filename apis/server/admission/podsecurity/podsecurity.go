// Package podsecurity enforces the pod security standard that a namespace's
// labels choose, with k8s.io/pod-security-admission. The default is privileged.
package podsecurity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"
	podadmission "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/admission/api/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"
)

// Name is the plugin's name in upstream's configuration.
const Name = "PodSecurity"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	standard *podadmission.Admission
}

var _ admission.ValidationInterface = (*Plugin)(nil)

// recorder counts for the process, to which the registry belongs.
var recorder = sync.OnceValue(func() *metrics.PrometheusRecorder {
	r := metrics.NewPrometheusRecorder(api.GetAPIVersion())
	r.MustRegister(legacyregistry.MustRegister)
	return r
})

// New registers the namespace and pod informers. The configuration is a
// pod-security.admission.config.k8s.io PodSecurityConfiguration; nil enforces
// only what namespaces ask for.
func New(i informers.SharedInformerFactory, client kubernetes.Interface, configuration io.Reader) (*Plugin, error) {
	config, err := load.LoadFromReader(configuration)
	if err != nil {
		return nil, fmt.Errorf("loading the pod security configuration: %w", err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("making the pod security checks: %w", err)
	}
	namespaces, pods := i.Core().V1().Namespaces(), i.Core().V1().Pods()
	p := &Plugin{admission.NewHandler(admission.Create, admission.Update), &podadmission.Admission{
		Configuration:    config,
		Evaluator:        evaluator,
		Metrics:          recorder(),
		PodSpecExtractor: podadmission.DefaultPodSpecExtractor{},
		NamespaceGetter:  podadmission.NamespaceGetterFromListerAndClient(namespaces.Lister(), client),
		PodLister:        podadmission.PodListerFromInformer(pods.Lister()),
	}}
	if err := errors.Join(p.standard.CompleteConfiguration(), p.standard.ValidateConfiguration()); err != nil {
		return nil, fmt.Errorf("configuring pod security: %w", err)
	}
	nsSynced, podsSynced := namespaces.Informer().HasSynced, pods.Informer().HasSynced
	p.SetReadyFunc(func() bool { return nsSynced() && podsSynced() })
	return p, nil
}

// Check reports a configuration that can't be used.
func Check(configuration io.Reader) error {
	c, err := load.LoadFromReader(configuration)
	if err != nil {
		return err
	}
	return validation.ValidatePodSecurityConfiguration(c).ToAggregate()
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	gr := a.GetResource().GroupResource()
	if gr.String() != "namespaces" && !p.standard.PodSpecExtractor.HasPodSpec(gr) {
		return nil
	}
	result := p.standard.Validate(ctx, &api.AttributesRecord{
		Name: a.GetName(), Namespace: a.GetNamespace(), Kind: a.GetKind(), Resource: a.GetResource(),
		Subresource: a.GetSubresource(), Operation: admissionv1.Operation(a.GetOperation()),
		Object: a.GetObject(), OldObject: a.GetOldObject(), Username: a.GetUserInfo().GetName(),
	})
	for _, w := range result.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for k, v := range result.AuditAnnotations {
		audit.AddAuditAnnotation(ctx, podadmissionPrefix+k, v)
	}
	if result.Allowed {
		return nil
	}
	return refuse(a, result)
}

const podadmissionPrefix = "pod-security.kubernetes.io/"

// refuse makes the answer that names the broken standard, with its details.
func refuse(a admission.Attributes, result *admissionv1.AdmissionResponse) error {
	message := "Not allowed by PodSecurity"
	if result.Result != nil && result.Result.Message != "" {
		message = result.Result.Message
	}
	err := admission.NewForbidden(a, errors.New(message))
	var status *apierrors.StatusError
	if !errors.As(err, &status) || result.Result == nil {
		return err
	}
	if result.Result.Message != "" { // it says already what it is about
		status.ErrStatus.Message = result.Result.Message
	}
	if d := result.Result.Details; d != nil && status.ErrStatus.Details != nil {
		if d.Kind != "" {
			status.ErrStatus.Details.Kind = d.Kind
		}
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, d.Causes...)
	}
	if result.Result.Code != 0 {
		status.ErrStatus.Code = result.Result.Code
	}
	if result.Result.Reason != "" {
		status.ErrStatus.Reason = result.Result.Reason
	}
	return status
}

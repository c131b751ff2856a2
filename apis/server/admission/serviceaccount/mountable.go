package serviceaccount

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// use is one reference to a secret, with how the pod makes it.
type use struct{ how, secret string }

// secretsOf lists what the pod takes from secrets, pull secrets apart.
func secretsOf(pod *corev1.Pod) []use {
	var out []use
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			out = append(out, use{fmt.Sprintf("volume with secret.secretName=%q", v.Secret.SecretName), v.Secret.SecretName})
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				out = append(out, use{fmt.Sprintf("volume with projected secret %q", s.Secret.Name), s.Secret.Name})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		out = append(out, environment("init container", pod.Spec.InitContainers[i].Name, pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom)...)
	}
	for i := range pod.Spec.Containers {
		out = append(out, environment("container", pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom)...)
	}
	return out
}

func environment(kind, name string, env []corev1.EnvVar, from []corev1.EnvFromSource) []use {
	var out []use
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			s := e.ValueFrom.SecretKeyRef.Name
			out = append(out, use{fmt.Sprintf("%s %s with envVar %s referencing secret.secretName=%q", kind, name, e.Name, s), s})
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			s := f.SecretRef.Name
			out = append(out, use{fmt.Sprintf("%s %s with envFrom referencing secret.secretName=%q", kind, name, s), s})
		}
	}
	return out
}

// limitReferences allows a pod only the secrets its account names.
func limitReferences(account *corev1.ServiceAccount, pod *corev1.Pod) error {
	mountable := func(name string) bool {
		return slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == name })
	}
	for _, u := range secretsOf(pod) {
		if !mountable(u.secret) {
			return fmt.Errorf("%s is not allowed because service account %s does not reference that secret", u.how, account.Name)
		}
	}
	for i, s := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, s) {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, s.Name, account.Name)
		}
	}
	return nil
}

// limitEphemeral does the same for containers added to a running pod.
func (p *Plugin) limitEphemeral(ctx context.Context, a admission.Attributes, pod *corev1.Pod) error {
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if !enforces(account) {
		return nil
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		for _, u := range environment("ephemeral container", c.Name, c.Env, c.EnvFrom) {
			if !slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == u.secret }) {
				return admission.NewForbidden(a, fmt.Errorf("%s is not allowed because service account %s does not reference that secret", u.how, account.Name))
			}
		}
	}
	return nil
}

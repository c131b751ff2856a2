package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"skiff/internal/podrefs"
)

// anyPod reports whether a pod of the node in the object's namespace satisfies
// the predicate. Mirror pods don't count: the node makes them itself, so they
// would let it read anything.
func (q question) anyPod(uses func(*corev1.Pod) bool) bool {
	pods, err := q.z.pods.ByIndex(podsByNode, q.node)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(pods, func(o any) bool {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return false
		}
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return false
		}
		return uses(pod)
	})
}

func (q question) inNamespace(pod *corev1.Pod) bool { return pod.Namespace == q.a.GetNamespace() }

func (q question) isPod() bool {
	pods, err := q.z.pods.ByIndex(podsByNode, q.node)
	return err == nil && slices.ContainsFunc(pods, func(o any) bool {
		pod, ok := o.(*corev1.Pod)
		return ok && q.inNamespace(pod) && pod.Name == q.a.GetName()
	})
}

func (q question) usesAccount() bool {
	return q.anyPod(func(p *corev1.Pod) bool { return q.inNamespace(p) && p.Spec.ServiceAccountName == q.a.GetName() })
}

func (q question) usesConfigMap() bool {
	return q.anyPod(func(p *corev1.Pod) bool {
		return q.inNamespace(p) && slices.Contains(podrefs.Of(p).ConfigMaps, q.a.GetName())
	})
}

func (q question) usesClaim() bool {
	return q.anyPod(func(p *corev1.Pod) bool {
		return q.inNamespace(p) && slices.Contains(podrefs.Of(p).Claims, q.a.GetName())
	})
}

func (q question) usesResourceClaim() bool {
	return q.anyPod(func(p *corev1.Pod) bool {
		return q.inNamespace(p) && slices.Contains(resourceClaims(p), q.a.GetName())
	})
}

// usesSecret also follows claims to the secrets their volumes are mounted with.
func (q question) usesSecret() bool {
	return q.anyPod(func(p *corev1.Pod) bool {
		refs := podrefs.Of(p)
		if q.inNamespace(p) && slices.Contains(refs.Secrets, q.a.GetName()) {
			return true
		}
		return slices.ContainsFunc(refs.Claims, func(claim string) bool {
			pv := q.volumeOf(p.Namespace, claim)
			return pv != nil && slices.Contains(volumeSecrets(pv), secretRef{q.a.GetNamespace(), q.a.GetName()})
		})
	})
}

// usesVolume reports whether the volume is bound to a claim of one of the pods.
func (q question) usesVolume() bool {
	pv, err := q.z.client.CoreV1().PersistentVolumes().Get(q.ctx, q.a.GetName(), fromCache())
	if err != nil || pv.Spec.ClaimRef == nil {
		return false
	}
	return q.anyPod(func(p *corev1.Pod) bool {
		return p.Namespace == pv.Spec.ClaimRef.Namespace && slices.Contains(podrefs.Of(p).Claims, pv.Spec.ClaimRef.Name)
	})
}

// volumeOf is the volume that says it is bound to the claim; the claim alone
// could name any volume.
func (q question) volumeOf(namespace, claim string) *corev1.PersistentVolume {
	pvc, err := q.z.client.CoreV1().PersistentVolumeClaims(namespace).Get(q.ctx, claim, fromCache())
	if err != nil || pvc.Spec.VolumeName == "" {
		return nil
	}
	pv, err := q.z.client.CoreV1().PersistentVolumes().Get(q.ctx, pvc.Spec.VolumeName, fromCache())
	if err != nil || pv.Spec.ClaimRef == nil {
		return nil
	}
	if pv.Spec.ClaimRef.Namespace != namespace || pv.Spec.ClaimRef.Name != claim {
		return nil
	}
	return pv
}

func (q question) isAttachment() bool {
	va, err := q.z.client.StorageV1().VolumeAttachments().Get(q.ctx, q.a.GetName(), fromCache())
	return err == nil && va.Spec.NodeName == q.node
}

func (q question) isSlice() bool {
	s, err := q.z.client.ResourceV1().ResourceSlices().Get(q.ctx, q.a.GetName(), fromCache())
	return err == nil && s.Spec.NodeName != nil && *s.Spec.NodeName == q.node
}

func (q question) isCertificateRequest() bool {
	r, err := q.z.client.CertificatesV1().PodCertificateRequests(q.a.GetNamespace()).Get(q.ctx, q.a.GetName(), fromCache())
	return err == nil && string(r.Spec.NodeName) == q.node
}

package volumes

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"skiff/kubelet/objects"
)

const projectedName = "kubernetes.io~projected"

// projections is what the sources of a projected volume are read from.
type projections struct {
	objects     *objects.Reader
	client      kubernetes.Interface
	allocatable func() corev1.ResourceList
	events      record.EventRecorder // nil to tell nobody
}

func newProjections(reader *objects.Reader, deps Deps) projections {
	return projections{objects: reader, client: deps.Client, allocatable: deps.Allocatable, events: deps.Events}
}

// projected is the kind that puts several sources into one directory. It is kept in memory.
func projected(p projections) kind {
	return rendered{
		name:     projectedName,
		claims:   func(spec *corev1.Volume) bool { return spec.Projected != nil },
		inMemory: true,
		files:    p.files,
	}
}

// files collects all sources. The failures of several are reported together, so that a user sees all that is missing.
func (p projections) files(ctx context.Context, v *volume) (files, time.Time, error) {
	m, err := modesOf(v.spec.Projected.DefaultMode)
	if err != nil {
		return nil, time.Time{}, err
	}
	payload := files{}
	var renew time.Time
	var failures []error
	for i := range v.spec.Projected.Sources {
		again, err := p.add(ctx, v, i, target{payload, m})
		if err != nil {
			failures = append(failures, err)
		}
		renew = earliest(renew, again)
	}
	return payload, renew, utilerrors.NewAggregate(failures)
}

// sourceKey identifies one source of a pod's projected volumes.
type sourceKey struct {
	volume string
	index  int
}

// target is where a source's files go.
type target struct {
	files files
	modes modes
}

// add adds the files of the source of that index.
func (p projections) add(ctx context.Context, v *volume, index int, to target) (renew time.Time, err error) {
	source := &v.spec.Projected.Sources[index]
	switch {
	case source.ConfigMap != nil:
		return renew, addConfigMap(ctx, p.objects, to.files, to.modes, configMapPart{
			namespace: v.pod.Namespace, name: source.ConfigMap.Name,
			items: source.ConfigMap.Items, optional: isOptional(source.ConfigMap.Optional),
		})
	case source.Secret != nil:
		return renew, addSecret(ctx, p.objects, to.files, to.modes, secretPart{
			namespace: v.pod.Namespace, name: source.Secret.Name,
			items: source.Secret.Items, optional: isOptional(source.Secret.Optional),
		})
	case source.DownwardAPI != nil:
		return renew, addDownward(to.files, to.modes, v.pod, source.DownwardAPI.Items, p.allocatable)
	case source.ServiceAccountToken != nil:
		return p.addToken(ctx, v, source.ServiceAccountToken, to)
	case source.ClusterTrustBundle != nil:
		return p.addTrustBundle(ctx, source.ClusterTrustBundle, to)
	case source.PodCertificate != nil:
		return p.addCertificate(ctx, v, index, to)
	}
	return renew, errors.New("the source of a projection names nothing this node can project")
}

package pod

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// imageVolumes are the images that a container mounts (KEP-4639), by volume name, as the runtime knows them. The runtime
// mounts their content, read-only and once for each sandbox, and takes it away with the sandbox.
type imageVolumes map[string]*cri.ImageSpec

// imageVolumes pulls the images that the container mounts, with the pod's credentials and each volume's policy. Its error is
// that of the last image that can't be had, as if the container's own image were missing.
func (w *worker) imageVolumes(ctx context.Context, pod *corev1.Pod, c *corev1.Container, sandbox *cri.SandboxConfig) (imageVolumes, error) {
	found := imageVolumes{}
	var failed error
	for _, v := range mountedImages(pod, c) {
		// An image of no container: what becomes of it is told of the pod as a whole.
		ref, err := w.deps.Images.Ensure(ctx, pod, &corev1.Container{Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy}, sandbox)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			text := err.Error()
			if wait, ok := errors.AsType[*WaitError](err); ok {
				text = wait.Message
			}
			w.deps.Recorder.Event(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: "+text)
			failed = err
			continue
		}
		found[v.Name] = &cri.ImageSpec{Image: ref, UserSpecifiedImage: v.Image.Reference, Annotations: pod.Annotations}
	}
	return found, failed
}

// mountedImages are the pod's image volumes that the container mounts, each once, in the order of the pod.
func mountedImages(pod *corev1.Pod, c *corev1.Container) []*corev1.Volume {
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = true
	}
	var out []*corev1.Volume
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Image != nil && mounted[v.Name] {
			out = append(out, v)
		}
	}
	return out
}

// mount is a mount of an image's directory sub, all of it when that is empty.
func (v imageVolumes) mount(m corev1.VolumeMount, sub string) *cri.Mount {
	return &cri.Mount{
		Image: v[m.Name], ImageSubPath: sub, ContainerPath: absolute(m.MountPath), Readonly: true,
		Propagation: propagation(m.MountPropagation), RecursiveReadOnly: recursive(m),
	}
}

// imagesAnnotation names the mounted images, for the collector of images to know them when only the runtime remembers the pod.
func imagesAnnotation(mounts []*cri.Mount) string {
	var ids []string
	for _, m := range mounts {
		if m.Image != nil {
			ids = append(ids, m.Image.Image)
		}
	}
	return strings.Join(ids, ",")
}

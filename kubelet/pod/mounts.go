package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// hostsPath is where containers look for their hosts file.
const hostsPath = "/etc/hosts"

// containerGiven is what a container's mounts depend on beside the pod.
type containerGiven struct {
	attempt uint32
	// vars is the container's environment, for subPathExpr.
	vars map[string]string
	// images are the image volumes that the container mounts.
	images imageVolumes
}

// mounts makes the container's bind mounts: its volumes, /etc/hosts and the termination message file.
func (w *worker) mounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, given containerGiven) ([]*cri.Mount, error) {
	w.mu.Lock()
	volumes := w.memory.Volumes
	ips := w.ips()
	w.mu.Unlock()
	var out []*cri.Mount
	ownHosts := false
	for i, m := range c.VolumeMounts {
		sub, err := subPath(m, given.vars)
		if err != nil {
			return nil, err
		}
		ownHosts = ownHosts || m.MountPath == hostsPath
		if given.images[m.Name] != nil {
			out = append(out, given.images.mount(m, sub))
			continue
		}
		path, ok := volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		if sub != "" {
			if path, err = w.deps.Volumes.Subpath(ctx, pod, c.Name, i, path, sub); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", m.Name, c.Name)
			}
		}
		out = append(out, &cri.Mount{
			HostPath: path, ContainerPath: absolute(m.MountPath), Readonly: m.ReadOnly || readOnly(pod, m.Name), Propagation: propagation(m.MountPropagation),
			RecursiveReadOnly: recursive(m),
		})
	}
	if !ownHosts {
		path, err := w.deps.Host.writeHosts(pod, ips)
		if err != nil {
			return nil, fmt.Errorf("writing the hosts file: %w", err)
		}
		out = append(out, &cri.Mount{HostPath: path, ContainerPath: hostsPath})
	}
	path, err := w.terminationFile(pod, c, given.attempt)
	if err != nil {
		return nil, err
	}
	return append(out, &cri.Mount{HostPath: path, ContainerPath: terminationPath(c)}), nil
}

// readOnly says whether containers get the volume read-only whatever their mounts say: what they would write into a
// volume that shows objects of the API would be lost with its next update.
func readOnly(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name == name {
			return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil ||
				v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly ||
				v.NFS != nil && v.NFS.ReadOnly || v.CSI != nil && v.CSI.ReadOnly != nil && *v.CSI.ReadOnly
		}
	}
	return false
}

// devices makes the container's block devices.
func (w *worker) devices(pod *corev1.Pod, c *corev1.Container) ([]*cri.Device, error) {
	w.mu.Lock()
	volumes := w.memory.Volumes
	w.mu.Unlock()
	var out []*cri.Device
	for _, d := range c.VolumeDevices {
		path, ok := volumes[d.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to pass into container %q", d.Name, c.Name)
		}
		permissions := "mrw"
		if readOnly(pod, d.Name) {
			permissions = "r"
		}
		out = append(out, &cri.Device{HostPath: path, ContainerPath: d.DevicePath, Permissions: permissions})
	}
	return out, nil
}

// terminationFile makes the empty file that the container writes its termination message to, writable for any user.
func (w *worker) terminationFile(pod *corev1.Pod, c *corev1.Container, attempt uint32) (string, error) {
	dir := filepath.Join(w.deps.Host.Dir(pod), "containers", c.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("making the directory of container %s: %w", c.Name, err)
	}
	path := filepath.Join(dir, strconv.FormatUint(uint64(attempt), 10))
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", fmt.Errorf("making the termination message file of container %s: %w", c.Name, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return "", fmt.Errorf("opening the termination message file of container %s to all users: %w", c.Name, err)
	}
	return path, nil
}

package pod

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// defaultTerminationPath is where a container writes its last words unless its spec names another file.
const defaultTerminationPath = "/dev/termination-log"

// containerInput is what a container's configuration is made from.
type containerInput struct {
	pod     *corev1.Pod
	spec    *corev1.Container
	host    Host
	attempt uint32
	image   string
	env     []corev1.EnvVar
	mounts  []*cri.Mount
	devices []*cri.Device
	// target is the id of the container whose processes an ephemeral one sees.
	target string
}

// config makes the container's configuration.
func (in containerInput) config() *cri.ContainerConfig {
	c := in.spec
	vars := map[string]string{}
	out := &cri.ContainerConfig{
		Metadata:   &cri.ContainerMetadata{Name: c.Name, Attempt: in.attempt},
		Image:      &cri.ImageSpec{Image: in.image, UserSpecifiedImage: c.Image},
		WorkingDir: c.WorkingDir, Mounts: in.mounts, Devices: in.devices,
		Stdin: c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		LogPath: filepath.Join(c.Name, strconv.FormatUint(uint64(in.attempt), 10)+".log"),
		Labels: map[string]string{
			cri.LabelPodName: in.pod.Name, cri.LabelPodNamespace: in.pod.Namespace, cri.LabelPodUID: string(in.pod.UID), cri.LabelContainerName: c.Name,
		},
		Annotations: in.annotations(),
	}
	for _, e := range in.env {
		vars[e.Name] = e.Value
		out.Envs = append(out.Envs, &cri.KeyValue{Key: e.Name, Value: []byte(e.Value)})
	}
	out.Command, out.Args = expandAll(c.Command, vars), expandAll(c.Args, vars)
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		out.StopSignal = cri.Signal(string(*c.Lifecycle.StopSignal))
	}
	limits := resources(c.Resources)
	limits.OomScoreAdj = oomScore(in.pod, c, in.host.MemoryCapacity)
	if in.host.Cgroup2 && limits.MemoryLimitInBytes > 0 {
		limits.Unified = map[string]string{"memory.oom.group": "1"}
	}
	security := containerSecurity(in.pod, c, in.host)
	if in.target != "" {
		security.NamespaceOptions.Pid, security.NamespaceOptions.TargetId = cri.NamespaceTarget, in.target
	}
	out.Linux = &cri.LinuxContainerConfig{Resources: limits, SecurityContext: security}
	return out
}

// annotations let a later process end the container well without its pod's spec.
func (in containerInput) annotations() map[string]string {
	out := map[string]string{
		cri.AnnotationHash:              hash(in.spec),
		cri.AnnotationRestartCount:      strconv.FormatUint(uint64(in.attempt), 10),
		cri.AnnotationTerminationPath:   terminationPath(in.spec),
		cri.AnnotationTerminationPolicy: string(in.spec.TerminationMessagePolicy),
		cri.AnnotationGracePeriod:       graceAnnotation(in.pod),
	}
	if mounted := imagesAnnotation(in.mounts); mounted != "" {
		out[cri.AnnotationImageVolumes] = mounted
	}
	if in.spec.Lifecycle != nil && in.spec.Lifecycle.PreStop != nil {
		if hook, err := json.Marshal(in.spec.Lifecycle.PreStop); err == nil {
			out[cri.AnnotationPreStop] = string(hook)
		}
	}
	return out
}

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return defaultTerminationPath
}

// Expand replaces $(NAME) by its value; $$ stands for $, and an unknown name stays as it is.
func Expand(text string, vars map[string]string) string {
	out, _ := expand(text, vars)
	return out
}

// expand also answers the first name that is unknown.
func expand(text string, vars map[string]string) (expanded, unknown string) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
			continue
		case '(':
			if end := strings.IndexByte(text[i:], ')'); end > 0 {
				name := text[i+2 : i+end]
				if value, ok := vars[name]; ok {
					out.WriteString(value)
				} else {
					out.WriteString(text[i : i+end+1])
					if unknown == "" {
						unknown = name
					}
				}
				i += end
				continue
			}
		}
		out.WriteByte('$')
	}
	return out.String(), unknown
}

func expandAll(in []string, vars map[string]string) []string {
	out := make([]string, 0, len(in))
	for _, text := range in {
		out = append(out, Expand(text, vars))
	}
	return out
}

// propagation translates how a volume's mounts spread.
func propagation(mode *corev1.MountPropagationMode) cri.Propagation {
	if mode == nil {
		return cri.PropagationPrivate
	}
	switch *mode {
	case corev1.MountPropagationHostToContainer:
		return cri.PropagationHostToContainer
	case corev1.MountPropagationBidirectional:
		return cri.PropagationBidirectional
	}
	return cri.PropagationPrivate
}

// absolute makes a mount path absolute, as a relative one is meant.
func absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return "/" + path
}

// recursive reports whether a read-only mount is to be so below its submounts too.
func recursive(m corev1.VolumeMount) bool {
	return m.ReadOnly && m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled
}

// subPath is the path below the volume that a mount asks for, its variables replaced.
func subPath(m corev1.VolumeMount, vars map[string]string) (string, error) {
	if m.SubPathExpr == "" {
		return m.SubPath, nil
	}
	path, unknown := expand(m.SubPathExpr, vars)
	if unknown != "" {
		return "", fmt.Errorf("missing value for %q", unknown)
	}
	return path, nil
}

package env

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"skiff/kubelet/downward"
)

// valueFrom answers the value a source names; found is false for an optional one that does not exist.
func (b *Builder) valueFrom(ctx context.Context, s *scope, source *corev1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case source.FieldRef != nil:
		value, err = downward.Field(s.pod, source.FieldRef.FieldPath)
		return value, true, err
	case source.ResourceFieldRef != nil:
		value, err = b.resource(s, source.ResourceFieldRef)
		return value, true, err
	case source.ConfigMapKeyRef != nil:
		return b.configMapKey(ctx, s, source.ConfigMapKeyRef)
	case source.SecretKeyRef != nil:
		return b.secretKey(ctx, s, source.SecretKeyRef)
	case source.FileKeyRef != nil:
		return b.fileKey(s, source.FileKeyRef)
	}
	return "", true, nil
}

func (b *Builder) resource(s *scope, ref *corev1.ResourceFieldSelector) (string, error) {
	container := s.container
	if ref.ContainerName != "" && ref.ContainerName != container.Name {
		other, err := downward.Container(s.pod, ref.ContainerName)
		if err != nil {
			return "", err
		}
		container = other
	}
	var allocatable corev1.ResourceList
	if b.deps.Allocatable != nil {
		allocatable = b.deps.Allocatable()
	}
	return downward.Resource(s.pod, container, ref, allocatable)
}

func (b *Builder) configMapKey(ctx context.Context, s *scope, ref *corev1.ConfigMapKeySelector) (string, bool, error) {
	cm, err := b.configMap(ctx, s, ref.Name)
	if err != nil {
		return "", false, unlessOptional(err, ref.Optional)
	}
	value, ok := cm.Data[ref.Key]
	if !ok && !ptr.Deref(ref.Optional, false) {
		return "", false, keyMissing(ref.Key, "ConfigMap", s.pod.Namespace, ref.Name)
	}
	return value, ok, nil
}

func (b *Builder) secretKey(ctx context.Context, s *scope, ref *corev1.SecretKeySelector) (string, bool, error) {
	secret, err := b.secret(ctx, s, ref.Name)
	if err != nil {
		return "", false, unlessOptional(err, ref.Optional)
	}
	value, ok := secret.Data[ref.Key]
	if !ok && !ptr.Deref(ref.Optional, false) {
		return "", false, keyMissing(ref.Key, "Secret", s.pod.Namespace, ref.Name)
	}
	return string(value), ok, nil
}

// maxEnvFile bounds how much of a file written by a container is read, in bytes.
const maxEnvFile = 1 << 20

// fileKey reads a variable from an env file in a volume. The file is a container's, so its path is not trusted to stay
// inside the volume.
func (b *Builder) fileKey(s *scope, ref *corev1.FileKeySelector) (string, bool, error) {
	optional := ptr.Deref(ref.Optional, false)
	text, err := b.envFile(s.pod, ref)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	}
	value, ok, err := ParseFile(text, ref.Key)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	}
	if !ok && !optional {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return value, ok, nil
}

func (b *Builder) envFile(pod *corev1.Pod, ref *corev1.FileKeySelector) (string, error) {
	if b.deps.VolumePath == nil {
		return "", errors.New("no volumes to read files from")
	}
	dir, err := b.deps.VolumePath(pod, ref.VolumeName)
	if err != nil {
		return "", fmt.Errorf("cannot find the volume %q referenced by FileKeyRef: %w", ref.VolumeName, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(ref.Path)
	if err != nil {
		return "", fmt.Errorf("failed to open environment variable file %q: %w", ref.Path, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxEnvFile {
		return "", fmt.Errorf("environment variable file %q is not a regular file of at most %d bytes", ref.Path, maxEnvFile)
	}
	data, err := root.ReadFile(ref.Path)
	return string(data), err
}

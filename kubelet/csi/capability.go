package csi

import (
	"context"
	"slices"
	"strconv"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
)

// Use is how a volume is to be used.
type Use struct {
	// Modes are the volume's access modes; without one it is for one node.
	Modes []corev1.PersistentVolumeAccessMode
	// Block gives the volume as a device. What follows is for filesystems only.
	Block  bool
	FSType string
	// Options are mount options, Group the owner of all files, which only drivers that can MountsGroup take.
	Options []string
	Group   *int64
}

// Capability translates a use into the driver's terms.
func (d *Driver) Capability(ctx context.Context, use Use) (*Capability, error) {
	finer, err := d.Can(ctx, OneOrMany)
	if err != nil {
		return nil, err
	}
	out := &Capability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: accessMode(use.Modes, finer)}}
	if use.Block {
		out.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
		return out, nil
	}
	mount := &spec.VolumeCapability_MountVolume{FsType: use.FSType, MountFlags: slices.Clone(use.Options)}
	if use.Group != nil {
		mount.VolumeMountGroup = strconv.FormatInt(*use.Group, 10)
	}
	out.AccessType = &spec.VolumeCapability_Mount{Mount: mount}
	return out, nil
}

// accessMode translates the first of a volume's modes. Drivers that know the finer ones tell one pod from many on one node.
func accessMode(modes []corev1.PersistentVolumeAccessMode, finer bool) spec.VolumeCapability_AccessMode_Mode {
	mode := corev1.ReadWriteOnce
	if len(modes) > 0 {
		mode = modes[0]
	}
	switch {
	case mode == corev1.ReadOnlyMany:
		return spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case mode == corev1.ReadWriteMany:
		return spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case mode == corev1.ReadWriteOnce && finer:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	case mode == corev1.ReadWriteOncePod && finer:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	case mode == corev1.ReadWriteOnce || mode == corev1.ReadWriteOncePod:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	}
	return spec.VolumeCapability_AccessMode_UNKNOWN
}

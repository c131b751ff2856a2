package csi

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Ability is something that a driver's node service may be able to.
type Ability = spec.NodeServiceCapability_RPC_Type

// The abilities.
const (
	Stages      = spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME
	Expands     = spec.NodeServiceCapability_RPC_EXPAND_VOLUME
	CountsUse   = spec.NodeServiceCapability_RPC_GET_VOLUME_STATS
	MountsGroup = spec.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP
	OneOrMany   = spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER
)

// What the node asks of drivers, in the specification's own messages.
type (
	// Stage asks to make a volume ready on the node.
	Stage = spec.NodeStageVolumeRequest
	// Publish asks to make a volume ready for a pod.
	Publish = spec.NodePublishVolumeRequest
	// Expand asks to grow a volume to its new size.
	Expand = spec.NodeExpandVolumeRequest
	// Capability says how a volume is used.
	Capability = spec.VolumeCapability
	// CapacityRange is a size in bytes.
	CapacityRange = spec.CapacityRange
)

// Stage makes a volume ready on the node.
func (d *Driver) Stage(ctx context.Context, in *Stage) error {
	_, err := call(ctx, d.node.NodeStageVolume, in)
	return err
}

// Unstage undoes Stage.
func (d *Driver) Unstage(ctx context.Context, handle, path string) error {
	_, err := call(ctx, d.node.NodeUnstageVolume, &spec.NodeUnstageVolumeRequest{VolumeId: handle, StagingTargetPath: path})
	return err
}

// Publish makes a volume ready for a pod.
func (d *Driver) Publish(ctx context.Context, in *Publish) error {
	_, err := call(ctx, d.node.NodePublishVolume, in)
	return err
}

// Unpublish undoes Publish.
func (d *Driver) Unpublish(ctx context.Context, handle, path string) error {
	_, err := call(ctx, d.node.NodeUnpublishVolume, &spec.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: path})
	return err
}

// Expand grows a volume.
func (d *Driver) Expand(ctx context.Context, in *Expand) error {
	_, err := call(ctx, d.node.NodeExpandVolume, in)
	return err
}

// Usage is what a volume has of bytes and inodes, as far as its driver tells.
type Usage struct {
	Capacity, Used, Available, Inodes, InodesUsed, InodesFree int64
}

// Usage asks how full a published volume is.
func (d *Driver) Usage(ctx context.Context, handle, path string) (Usage, error) {
	answer, err := call(ctx, d.node.NodeGetVolumeStats, &spec.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: path})
	if err != nil {
		return Usage{}, err
	}
	var out Usage
	for _, use := range answer.GetUsage() {
		switch use.GetUnit() {
		case spec.VolumeUsage_BYTES:
			out.Capacity, out.Used, out.Available = use.GetTotal(), use.GetUsed(), use.GetAvailable()
		case spec.VolumeUsage_INODES:
			out.Inodes, out.InodesUsed, out.InodesFree = use.GetTotal(), use.GetUsed(), use.GetAvailable()
		}
	}
	return out, nil
}

// Info is what a driver says of itself on this node.
type Info struct {
	NodeID string
	// MaxVolumes is how many volumes the node can have; no limit when zero.
	MaxVolumes int64
	Topology   map[string]string
}

func (d *Driver) info(ctx context.Context) (Info, error) {
	answer, err := call(ctx, d.node.NodeGetInfo, &spec.NodeGetInfoRequest{})
	if err != nil {
		return Info{}, err
	}
	return Info{
		NodeID: answer.GetNodeId(), MaxVolumes: answer.GetMaxVolumesPerNode(), Topology: answer.GetAccessibleTopology().GetSegments(),
	}, nil
}

// Final says whether a failed call is over for sure. After others the driver may still be at work, so that what it was given
// must stay.
func Final(err error) bool {
	switch status.Code(err) {
	case codes.OK, codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return false
	case codes.Unknown:
		_, answered := status.FromError(err)
		return answered
	}
	return true
}

// InUse says whether a volume can't grow while it is in use.
func InUse(err error) bool { return status.Code(err) == codes.FailedPrecondition }

// Infeasible says whether what was asked will never be possible.
func Infeasible(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound:
		return true
	}
	return false
}

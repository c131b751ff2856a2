// Package csidriver is a driver of the Container Storage Interface for tests: its volumes are directories that it binds, or
// files in place of devices. It records what it is asked, and can be told to fail or to hang.
package csidriver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Config says what the driver is.
type Config struct {
	Name, NodeID string
	// Data is where volumes are: one directory for each handle, made as needed.
	Data string
	// Socket is where the driver serves, and registers with a kubelet.
	Socket     string
	Abilities  []spec.NodeServiceCapability_RPC_Type
	Topology   map[string]string
	MaxVolumes int64
}

// Call is one request that the driver got.
type Call struct {
	Method  string
	Request any
}

// Driver is a running driver.
type Driver struct {
	spec.UnimplementedNodeServer
	registerapi.UnimplementedRegistrationServer
	config Config
	server *grpc.Server
	served chan error

	mu     sync.Mutex
	calls  []Call
	faults map[string]error
	hang   map[string]chan struct{}
	leaves bool
	status *registerapi.RegistrationStatus
}

// Start serves until Stop.
func Start(ctx context.Context, config Config) (*Driver, error) {
	if err := os.Remove(config.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an old socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", config.Socket)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	d := &Driver{
		config: config, served: make(chan error, 1), faults: map[string]error{}, hang: map[string]chan struct{}{},
	}
	d.server = grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	spec.RegisterNodeServer(d.server, d)
	registerapi.RegisterRegistrationServer(d.server, d)
	go func() { d.served <- d.server.Serve(listener) }()
	return d, nil
}

// Stop ends the driver; what it mounted stays.
func (d *Driver) Stop() {
	d.server.Stop()
	<-d.served
}

// Fail has a method, such as NodePublishVolume, fail with code from now on; OK ends that.
func (d *Driver) Fail(method string, code codes.Code) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.faults, method)
	if code != codes.OK {
		d.faults[method] = status.Errorf(code, "%s was told to fail", method)
	}
}

// LeaveMounted has NodeUnpublishVolume do nothing and call that a success, as long as leave is set.
func (d *Driver) LeaveMounted(leave bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaves = leave
}

// Hang has a method answer nothing until release is called, or its caller gives up.
func (d *Driver) Hang(method string) (release func()) {
	gate := make(chan struct{})
	d.mu.Lock()
	d.hang[method] = gate
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		delete(d.hang, method)
		d.mu.Unlock()
		close(gate)
	}
}

// Calls are the requests so far that change something, oldest first.
func (d *Driver) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Methods are their names.
func (d *Driver) Methods() []string {
	var out []string
	for _, c := range d.Calls() {
		out = append(out, c.Method)
	}
	return out
}

// Registered is what the kubelet said of the registration last; nil before.
func (d *Driver) Registered() *registerapi.RegistrationStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// intercept records, fails and hangs.
func (d *Driver) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := filepath.Base(info.FullMethod)
	d.mu.Lock()
	switch method {
	case "NodeGetCapabilities", "NodeGetInfo", "GetInfo", "NotifyRegistrationStatus":
	default:
		d.calls = append(d.calls, Call{method, request})
	}
	fault, gate := d.faults[method], d.hang[method]
	d.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if fault != nil {
		return nil, fault
	}
	return next(ctx, request)
}

// GetInfo tells a kubelet what this is.
func (d *Driver) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: d.config.Name, Endpoint: d.config.Socket, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus hears whether a kubelet took the driver.
func (d *Driver) NotifyRegistrationStatus(_ context.Context, in *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = in
	return &registerapi.RegistrationStatusResponse{}, nil
}

// NodeGetInfo tells who the node is to the driver.
func (d *Driver) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	out := &spec.NodeGetInfoResponse{NodeId: d.config.NodeID, MaxVolumesPerNode: d.config.MaxVolumes}
	if len(d.config.Topology) > 0 {
		out.AccessibleTopology = &spec.Topology{Segments: d.config.Topology}
	}
	return out, nil
}

// NodeGetCapabilities tells what the driver can.
func (d *Driver) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	out := &spec.NodeGetCapabilitiesResponse{}
	for _, ability := range d.config.Abilities {
		out.Capabilities = append(out.Capabilities, &spec.NodeServiceCapability{Type: &spec.NodeServiceCapability_Rpc{
			Rpc: &spec.NodeServiceCapability_RPC{Type: ability},
		}})
	}
	return out, nil
}

// NodeStageVolume binds the volume's directory to the staging path.
func (d *Driver) NodeStageVolume(_ context.Context, in *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	if in.GetVolumeCapability().GetBlock() != nil {
		return &spec.NodeStageVolumeResponse{}, nil
	}
	source, err := d.volume(in.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &spec.NodeStageVolumeResponse{}, bind(source, in.GetStagingTargetPath(), false)
}

// NodeUnstageVolume undoes that.
func (d *Driver) NodeUnstageVolume(_ context.Context, in *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	return &spec.NodeUnstageVolumeResponse{}, unbind(in.GetStagingTargetPath())
}

// NodePublishVolume binds what is staged, or the volume's directory, to the target; a device is a file named "device".
func (d *Driver) NodePublishVolume(_ context.Context, in *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	source, err := d.volume(in.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if in.GetVolumeCapability().GetBlock() != nil {
		device := filepath.Join(source, "device")
		if err := errors.Join(touch(device), touch(in.GetTargetPath())); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		return &spec.NodePublishVolumeResponse{}, bind(device, in.GetTargetPath(), in.GetReadonly())
	}
	if staged := in.GetStagingTargetPath(); staged != "" {
		source = staged
	}
	if err := os.MkdirAll(in.GetTargetPath(), 0o750); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodePublishVolumeResponse{}, bind(source, in.GetTargetPath(), in.GetReadonly())
}

// NodeUnpublishVolume undoes that and removes the target.
func (d *Driver) NodeUnpublishVolume(_ context.Context, in *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	d.mu.Lock()
	leaves := d.leaves
	d.mu.Unlock()
	if leaves {
		return &spec.NodeUnpublishVolumeResponse{}, nil
	}
	if err := unbind(in.GetTargetPath()); err != nil {
		return nil, err
	}
	if err := os.Remove(in.GetTargetPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume has nothing to do: directories grow by themselves.
func (d *Driver) NodeExpandVolume(_ context.Context, in *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	return &spec.NodeExpandVolumeResponse{CapacityBytes: in.GetCapacityRange().GetRequiredBytes()}, nil
}

// NodeGetVolumeStats tells made up figures.
func (d *Driver) NodeGetVolumeStats(context.Context, *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: 100, Used: 60, Available: 40}, {Unit: spec.VolumeUsage_INODES, Total: 10, Used: 6, Available: 4},
	}}, nil
}

func (d *Driver) volume(handle string) (string, error) {
	dir := filepath.Join(d.config.Data, handle)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", status.Error(codes.Internal, err.Error())
	}
	return dir, nil
}

func touch(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// bind is idempotent, as drivers have to be.
func bind(source, target string, readOnly bool) error {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, target, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if readOnly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	return nil
}

func unbind(target string) error {
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

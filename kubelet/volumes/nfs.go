package volumes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const (
	nfsName = "kubernetes.io~nfs"
	// nfsPort is the server's (RFC 7530).
	nfsPort = "2049"
	// nfsPatience bounds the wait for the server. The kernel would wait for minutes, and nothing could end that.
	nfsPatience = 10 * time.Second
)

// nfs is a directory of an NFS server, mounted by the kernel for each pod. What the host's mount.nfs would do is done here:
// the server's name resolved and the newest version found that both speak.
type nfs struct{}

func (nfs) dir() string { return nfsName }

func (nfs) owns(spec *corev1.Volume) bool { return spec.NFS != nil }

func (nfs) setUp(ctx context.Context, v *volume) (string, time.Time, error) {
	return v.dir, time.Time{}, mountNFS(ctx, v.spec.NFS, nil, v.dir, v.spec.NFS.ReadOnly)
}

// mountNFS mounts the source at dir unless something is mounted there.
func mountNFS(ctx context.Context, source *corev1.NFSVolumeSource, options []string, dir string, readOnly bool) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making a place for an NFS volume: %w", err)
	}
	mounted, err := isMount(dir)
	if err != nil || mounted {
		return err
	}
	if readOnly {
		options = append(slices.Clone(options), "ro")
	}
	flags, wanted := splitOptions(options)
	server, err := reachNFS(ctx, source.Server, wanted)
	if err != nil {
		return err
	}
	for _, version := range nfsVersions(wanted) {
		data := strings.Join(append(slices.Concat(wanted, version), "addr="+server.String()), ",")
		err = unix.Mount(nfsSource(source), dir, "nfs", flags, data)
		if !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL) {
			break // EINVAL is a kernel's answer to a version that it doesn't know
		}
	}
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("mounting %s: this node's kernel has no NFS client", nfsSource(source))
	case err != nil:
		return fmt.Errorf("mounting %s at %s: %w", nfsSource(source), dir, err)
	}
	return nil
}

// nfsSource is what is mounted, in the mount table's form. An IPv6 address is set in brackets.
func nfsSource(source *corev1.NFSVolumeSource) string {
	server := source.Server
	if addr, err := netip.ParseAddr(server); err == nil && addr.Is6() {
		server = "[" + server + "]"
	}
	return server + ":" + source.Path
}

// nfsVersions are the options to try, one after the other: the version that the user names, else the newest first.
func nfsVersions(options []string) [][]string {
	for _, option := range options {
		key, _, _ := strings.Cut(option, "=")
		if key == "vers" || key == "nfsvers" || key == "v3" || key == "v4" || strings.HasPrefix(key, "v4.") {
			return [][]string{nil}
		}
	}
	return [][]string{{"vers=4.2"}, {"vers=4.1"}, {"vers=4.0"}, {"vers=3"}}
}

// splitOptions tells the options that are flags of mount(2) from those that the filesystem reads.
func splitOptions(options []string) (flags uintptr, rest []string) {
	known := map[string]struct{ set, clear uintptr }{
		"defaults": {}, "rw": {clear: unix.MS_RDONLY}, "ro": {set: unix.MS_RDONLY},
		"suid": {clear: unix.MS_NOSUID}, "nosuid": {set: unix.MS_NOSUID}, "dev": {clear: unix.MS_NODEV}, "nodev": {set: unix.MS_NODEV},
		"exec": {clear: unix.MS_NOEXEC}, "noexec": {set: unix.MS_NOEXEC}, "async": {clear: unix.MS_SYNCHRONOUS}, "sync": {set: unix.MS_SYNCHRONOUS},
		"dirsync": {set: unix.MS_DIRSYNC}, "atime": {clear: unix.MS_NOATIME}, "noatime": {set: unix.MS_NOATIME},
		"diratime": {clear: unix.MS_NODIRATIME}, "nodiratime": {set: unix.MS_NODIRATIME},
		"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME}, "strictatime": {set: unix.MS_STRICTATIME},
	}
	for _, list := range options {
		for option := range strings.SplitSeq(list, ",") {
			if bits, ok := known[option]; ok {
				flags = flags&^bits.clear | bits.set
			} else if option != "" {
				rest = append(rest, option)
			}
		}
	}
	return flags, rest
}

// reachNFS resolves the server's name, since the kernel can't, and answers an address that takes connections.
func reachNFS(ctx context.Context, server string, options []string) (netip.Addr, error) {
	port := nfsPort
	for _, option := range options {
		if value, ok := strings.CutPrefix(option, "port="); ok {
			port = value
		}
	}
	ctx, cancel := context.WithTimeout(ctx, nfsPatience)
	defer cancel()
	dialer := &net.Dialer{}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(server, port))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reaching NFS server %s: %w", server, err)
	}
	defer func() { _ = conn.Close() }()
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("reaching NFS server %s: no address", server)
	}
	return remote.AddrPort().Addr().Unmap(), nil
}

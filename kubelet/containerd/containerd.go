// Package containerd runs containerd's server inside this process: the CRI plugin, the overlayfs snapshotter, the runc v2
// shim manager and what they need, and nothing else. Shims and containers are processes of their own; they keep running when
// the server ends, and the next server on the same Root and State finds them again.
//
// The rest of the node speaks to it over Config.Socket only, as to any other container runtime.
//
// containerd keeps its plugin registry in package variables, so one process may run one Server at a time.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/cmd/containerd/server"
	"github.com/containerd/log"
)

// Namespace is the containerd namespace that the CRI plugin lives in.
const Namespace = "k8s.io"

// maxSocketDir is the longest directory of shim sockets that containerd takes.
const maxSocketDir = 42

// Config says where the server lives on the host. Every path is absolute.
type Config struct {
	// Root holds images, snapshots and metadata; it must survive a reboot.
	Root string
	// State holds what lives as long as the running containers; at most 40 bytes long, since shim sockets lie below it.
	State string
	// Socket is the path of the gRPC endpoint; shorter than 100 bytes.
	Socket string
	// BinDir holds runc and containerd-shim-runc-v2.
	BinDir string
	// CNIBinDir and CNIConfDir hold the CNI plugins and their configuration. The configuration may appear later.
	CNIBinDir, CNIConfDir string
	// PauseImage is the full name of the sandbox image; it is never collected.
	PauseImage string
	// PauseArchive is an OCI archive that holds PauseImage, imported when the image is missing. Optional.
	PauseArchive string
	// RegistryConfigDir holds <host>/hosts.toml files (mirrors, certificates). Optional.
	RegistryConfigDir string
	// RuncRoot holds runc's state; below State when empty.
	RuncRoot string
}

// Validate names the first thing that is wrong.
func (c Config) Validate() error {
	for _, path := range []struct{ name, value string }{
		{"root", c.Root}, {"state", c.State}, {"socket", c.Socket}, {"binary directory", c.BinDir},
		{"CNI binary directory", c.CNIBinDir}, {"CNI configuration directory", c.CNIConfDir},
	} {
		if !filepath.IsAbs(path.value) {
			return fmt.Errorf("containerd's %s must be an absolute path, not %q", path.name, path.value)
		}
	}
	if len(c.shimSockets()) > maxSocketDir {
		return fmt.Errorf("containerd's state directory %q is %d bytes too long for the sockets below it", c.State, len(c.shimSockets())-maxSocketDir)
	}
	if c.PauseImage == "" {
		return errors.New("containerd needs the name of the sandbox image")
	}
	return nil
}

func (c Config) shimSockets() string { return filepath.Join(c.State, "s") }

// Server is an embedded containerd.
type Server struct {
	config Config
	ready  chan struct{}
	once   sync.Once
}

// New checks the configuration and starts nothing.
func New(config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.RuncRoot == "" {
		config.RuncRoot = filepath.Join(config.State, "runc")
	}
	return &Server{config: config, ready: make(chan struct{})}, nil
}

// Ready is closed when the runtime serves and has the sandbox image.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends. Containers keep running afterwards.
func (s *Server) Run(ctx context.Context) error {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if err := s.config.searchPath(); err != nil {
		return err
	}
	life := log.WithLogger(context.WithoutCancel(ctx), logger(ctx))
	config := s.config.server(restrictedOOMScore())
	if err := server.CreateTopLevelDirectories(config); err != nil {
		return fmt.Errorf("creating containerd's directories: %w", err)
	}
	running, err := server.New(life, config)
	if err != nil {
		return fmt.Errorf("creating containerd's server: %w", err)
	}
	defer running.Stop()
	if err := running.Start(life); err != nil {
		return fmt.Errorf("starting containerd's server: %w", err)
	}
	running.Wait()
	if err := s.importPause(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.once.Do(func() { close(s.ready) })
	<-ctx.Done()
	return nil
}

func (s *Server) makeDirs() error {
	for _, dir := range []string{s.config.CNIConfDir, s.config.shimSockets(), filepath.Dir(s.config.Socket)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("creating containerd's directories: %w", err)
		}
	}
	return nil
}

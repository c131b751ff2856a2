package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"golang.org/x/sys/unix"
)

// settings is one plugin's configuration, by the keys of containerd's configuration file.
type settings = map[string]any

// server translates the configuration into containerd's own.
func (c Config) server(restrictOOMScore bool) *srvconfig.Config {
	return &srvconfig.Config{
		Version: version.ConfigVersion,
		Root:    c.Root,
		State:   c.State,
		RequiredPlugins: []string{
			"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
			"io.containerd.snapshotter.v1.overlayfs", "io.containerd.server.v1.grpc", "io.containerd.server.v1.ttrpc",
		},
		DisabledPlugins: []string{"io.containerd.metrics.v1.grpc-prometheus", "io.containerd.metrics.v1.grpc-otel"},
		Plugins: settings{
			"io.containerd.server.v1.grpc":           settings{"address": c.Socket, "uid": os.Geteuid(), "gid": os.Getegid()},
			"io.containerd.server.v1.ttrpc":          settings{"address": c.Socket + ".ttrpc", "uid": os.Geteuid(), "gid": os.Getegid()},
			"io.containerd.shim.v1.manager":          settings{"socket_dir": c.shimSockets()},
			"io.containerd.cri.v1.runtime":           c.runtime(restrictOOMScore),
			"io.containerd.cri.v1.images":            c.images(),
			"io.containerd.transfer.v1.local":        settings{"config_path": c.RegistryConfigDir},
			"io.containerd.grpc.v1.cri":              settings{"stream_server_address": "127.0.0.1", "stream_server_port": "0"},
			"io.containerd.gc.v1.scheduler":          settings{"startup_delay": "5s"},
			"io.containerd.metadata.v1.bolt":         settings{"content_sharing_policy": "shared"},
			"io.containerd.snapshotter.v1.overlayfs": settings{"slow_chown": true},
		},
	}
}

func (c Config) runtime(restrictOOMScore bool) settings {
	return settings{
		"restrict_oom_score_adj":                 restrictOOMScore,
		"netns_mounts_under_state_dir":           true,
		"enable_selinux":                         false,
		"stats_collect_period":                   "30s",
		"device_ownership_from_security_context": true,
		"cni": settings{
			"bin_dirs": []string{c.CNIBinDir}, "conf_dir": c.CNIConfDir, "max_conf_num": 1, "use_internal_loopback": true,
		},
		"containerd": settings{
			"default_runtime_name": "runc",
			"runtimes": settings{"runc": settings{
				"runtime_type": "io.containerd.runc.v2",
				"sandboxer":    "podsandbox",
				"options": settings{
					"BinaryName": filepath.Join(c.BinDir, "runc"), "Root": c.RuncRoot, "SystemdCgroup": false,
				},
			}},
		},
	}
}

func (c Config) images() settings {
	return settings{
		"snapshotter":          "overlayfs",
		"pinned_images":        settings{"sandbox": c.PauseImage},
		"registry":             settings{"config_path": c.RegistryConfigDir},
		"stats_collect_period": 60,
	}
}

// searchPath puts BinDir first in this process's PATH. containerd resolves a runtime's name there and only so; naming the
// shim by path instead costs the execution of one more process per container and loses the containers at a restart.
func (c Config) searchPath() error {
	path := os.Getenv("PATH")
	if first, _, _ := strings.Cut(path, string(os.PathListSeparator)); first == c.BinDir {
		return nil
	}
	if err := os.Setenv("PATH", c.BinDir+string(os.PathListSeparator)+path); err != nil {
		return fmt.Errorf("putting %s into the search path: %w", c.BinDir, err)
	}
	return nil
}

// restrictedOOMScore reports whether this process may not lower oom_score_adj, which takes CAP_SYS_RESOURCE.
func restrictedOOMScore() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0
}

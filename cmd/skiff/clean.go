package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"skiff/config"
	"skiff/kubelet/cgroupfs"
	"skiff/kubelet/dns"
	"skiff/kubelet/network"
	"skiff/kubelet/policy"
	"skiff/kubelet/proxy"
	"skiff/kubelet/teardown"
)

func newClean() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "clean",
		Short: "Stop the server and remove every trace: containers, mounts, network, data",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.load(c.Flags()); err != nil {
				return err
			}
			if _, err := stopServer(c.Context(), &s.Config); err != nil {
				return err
			}
			if err := recallShared(&s.Config); err != nil {
				return err
			}
			if err := clean(c, &s.Config); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "removed %s and everything that ran from it\n", s.DataDir)
			return err
		},
	}
	s.bind(c.Flags())
	return c
}

// clean removes what a server leaves on its host. It goes on after a failure,
// so that as little as possible stays.
func clean(c *cobra.Command, cfg *config.Config) error {
	dirs := []string{cfg.RunDir(), cfg.DataDir}
	if cfg.NoNode || os.Geteuid() != 0 {
		return errors.Join(os.RemoveAll(cfg.DataDir), removeKubeconfig(cfg))
	}
	// Where the host mounts no cgroup hierarchies the server did, but for itself only.
	errs := []error{cgroupfs.Ensure()}
	h := &host{Config: cfg}
	errs = append(errs,
		teardown.Run(c.Context(), teardown.Config{Socket: runtimeSocket(cfg), CgroupParent: cfg.CgroupParent()}),
		network.Cleanup(h.network(firstRange(cfg.PodRange()))),
		network.CleanupPeers(h.peers()),
		proxy.Cleanup(cfg.Instance()),
		policy.Cleanup(cfg.PolicyTable()),
		dns.Cleanup(cfg.DNSLink()),
		teardown.Run(c.Context(), teardown.Config{Dirs: dirs}),
		removeKubeconfig(cfg),
	)
	return errors.Join(errs...)
}

func removeKubeconfig(cfg *config.Config) error {
	if cfg.Kubeconfig == "" {
		return nil
	}
	if err := os.Remove(cfg.Kubeconfig); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the kubeconfig: %w", err)
	}
	return nil
}

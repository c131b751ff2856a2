package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"skiff/config"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "skiff",
		Short:         "Kubernetes in one small binary",
		Version:       config.GitVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServer(), newAgent(), newUp(), newDown(), newClean(), newToken(), newKubectl())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: `%s --help` lists the flags", err, c.CommandPath())
	})
	return root
}

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	"k8s.io/kubectl/pkg/cmd/util"

	"skiff/config"
)

// newKubectl is kubectl itself, which reads skiff's kubeconfig where the user
// has no other.
func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              "kubectl, built in",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50)
			if name := ownKubeconfig(); name != "" {
				flags.KubeConfig = &name
			}
			streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
			inner := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
				PluginHandler: kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
				Arguments:     append([]string{"kubectl"}, args...),
				ConfigFlags:   flags,
				IOStreams:     streams,
			})
			inner.SetArgs(args)
			util.CheckErr(cli.RunNoErrOutput(inner)) // ends the process with kubectl's own texts and codes
			return nil
		},
	}
}

// ownKubeconfig answers skiff's kubeconfig when neither $KUBECONFIG nor
// ~/.kube/config names a cluster, else "".
func ownKubeconfig() string {
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "" {
		return ""
	}
	home, err := os.UserHomeDir()
	if err == nil {
		if _, err := os.Stat(filepath.Join(home, ".kube", "config")); !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
	}
	if _, err := os.Stat(config.DefaultKubeconfig); err != nil {
		return ""
	}
	return config.DefaultKubeconfig
}

package script

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// fatal is how kubectl ends when it would end the process.
type fatal struct {
	message string
	code    int
}

func init() { cmdutil.BehaviorOnFatal(func(message string, code int) { panic(fatal{message, code}) }) }

// runKubectl runs kubectl in this process.
func runKubectl(kubeconfig, namespace, cache string, out io.Writer, errs io.Writer, args []string) (err error) {
	defer func() {
		if end := recover(); end != nil {
			f, ok := end.(fatal)
			if !ok {
				panic(end)
			}
			if f.code != 0 {
				fmt.Fprintln(errs, f.message)
				err = fmt.Errorf("kubectl ended with %d", f.code)
			}
		}
	}()
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	flags.KubeConfig, flags.Namespace, flags.CacheDir = &kubeconfig, &namespace, &cache
	cmd := kubectl.NewKubectlCommand(kubectl.KubectlOptions{
		ConfigFlags: flags, Arguments: slices.Concat([]string{"kubectl"}, args),
		IOStreams: genericiooptions.IOStreams{In: new(bytes.Buffer), Out: out, ErrOut: errs},
	})
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(errs, err)
		return err
	}
	return nil
}

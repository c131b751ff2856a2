package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"skiff/config"
)

// startPatience is how long `skiff up` waits for a cluster.
const startPatience = 2 * time.Minute

func newUp() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the server in the background and wait until its node is Ready",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.load(c.Flags()); err != nil {
				return err
			}
			if err := preflight(&s.Config); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), startPatience)
			defer cancel()
			return up(ctx, &s.Config, serverArgs(c.Flags()), c.OutOrStdout())
		},
	}
	s.bind(c.Flags())
	return c
}

// serverArgs repeats the flags that the user gave.
func serverArgs(f *pflag.FlagSet) []string {
	args := []string{"server"}
	f.Visit(func(flag *pflag.Flag) {
		value := flag.Value.String()
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		args = append(args, "--"+flag.Name+"="+value)
	})
	return args
}

func up(ctx context.Context, cfg *config.Config, args []string, out io.Writer) error {
	s := &steps{out: out, last: time.Now()}
	began := s.last
	if pid, err := cfg.ServerPID(); err != nil {
		return err
	} else if pid != 0 {
		_, err := fmt.Fprintf(out, "already running as process %d\n", pid)
		return err
	}
	server, err := launch(cfg, args)
	if err != nil {
		return err
	}
	client, err := server.apiReady(ctx)
	if err != nil {
		return server.explain(err)
	}
	s.done("API ready")
	if !cfg.NoNode {
		if err := server.nodeReady(ctx, client); err != nil {
			return server.explain(err)
		}
		s.done("node Ready")
	}
	fmt.Fprintf(out, "skiff %s runs as process %d, started in %.1f s; its log is %s\n",
		config.GitVersion(), server.cmd.Process.Pid, time.Since(began).Seconds(), server.log)
	if cfg.Kubeconfig != config.DefaultKubeconfig {
		_, err = fmt.Fprintf(out, "next:\n  export KUBECONFIG=%s\n  %s kubectl get nodes\n", cfg.Kubeconfig, os.Args[0])
		return err
	}
	_, err = fmt.Fprintf(out, "next:\n  %[1]s kubectl get nodes            # or: export KUBECONFIG=%[2]s and any kubectl\n  %[1]s kubectl create deployment web --image=IMAGE\n", os.Args[0], cfg.Kubeconfig)
	return err
}

// launched is a server process in the background.
type launched struct {
	cfg   *config.Config
	cmd   *exec.Cmd
	log   string
	begun int64 // size of the log before this start
	start time.Time
	ended chan struct{}
}

func launch(cfg *config.Config, args []string) (*launched, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return nil, fmt.Errorf("data-dir: %w: give a directory that this user may write", err)
	}
	l := &launched{cfg: cfg, log: filepath.Join(cfg.DataDir, "server.log"), start: time.Now(), ended: make(chan struct{})}
	file, err := os.OpenFile(l.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		l.begun = info.Size()
	}
	l.cmd = exec.Command(self, args...) //nolint:noctx // it must outlive this command
	l.cmd.Stdout, l.cmd.Stderr = file, file
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	l.cmd.Dir = "/"
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	go func() { // ends with the server, or with this process
		_ = l.cmd.Wait()
		close(l.ended)
	}()
	return l, nil
}

// alive reports an error once the server has ended.
func (l *launched) alive() error {
	select {
	case <-l.ended:
		return fmt.Errorf("the server ended: %s", l.cmd.ProcessState)
	default:
		return nil
	}
}

func (l *launched) apiReady(ctx context.Context) (kubernetes.Interface, error) {
	if l.cfg.Kubeconfig == "" {
		return nil, fmt.Errorf("kubeconfig: `skiff up` needs one to reach the server: give a path with --kubeconfig")
	}
	var client kubernetes.Interface
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		if err := l.alive(); err != nil {
			return false, err
		}
		if client == nil {
			// The server writes it anew at each start: an older one may name another port.
			if info, err := os.Stat(l.cfg.Kubeconfig); err != nil || info.ModTime().Before(l.start) {
				return false, nil //nolint:nilerr // not written yet
			}
			rc, err := clientcmd.BuildConfigFromFlags("", l.cfg.Kubeconfig)
			if err != nil {
				return false, nil //nolint:nilerr // not written yet
			}
			if client, err = kubernetes.NewForConfig(rc); err != nil {
				return false, err
			}
		}
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil && bytes.Equal(body, []byte("ok")), nil
	})
	return client, err
}

func (l *launched) nodeReady(ctx context.Context, client kubernetes.Interface) error {
	name, err := l.cfg.Node()
	if err != nil {
		return err
	}
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		if err := l.alive(); err != nil {
			return false, err
		}
		// What the API knows of the node may be from before this start; a lease renewed since is not.
		lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
		if err != nil || lease.Spec.RenewTime == nil || lease.Spec.RenewTime.Time.Before(l.start) {
			return false, nil //nolint:nilerr // not there yet
		}
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // not registered yet
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
}

// explain adds the last thing the server said to an error.
func (l *launched) explain(err error) error {
	raw, readErr := os.ReadFile(l.log)
	if readErr != nil || int64(len(raw)) < l.begun {
		return err
	}
	said := strings.Split(strings.TrimSpace(string(raw[l.begun:])), "\n")
	last := said[len(said)-1]
	if own, ok := strings.CutPrefix(last, "skiff: "); ok {
		return fmt.Errorf("%s", own)
	}
	return fmt.Errorf("%w; the log %s ends with: %s", err, l.log, last)
}

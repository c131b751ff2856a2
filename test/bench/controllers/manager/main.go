// The program manager runs skiff's controllers in a process of their own, as kube-controller-manager is one, so that
// both can be measured against the same API server. Its memory is managed as the server's is:
//
//	manager KUBECONFIG PKI [PROFILES]
//
// PKI is the server's directory of keys; every controller gets a token of its own service account. Profiles of CPU and
// heap are left in PROFILES.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"skiff/config/pki"
	"skiff/controllers"
	"skiff/controllers/certificates"
	"skiff/internal/memory"
	"skiff/internal/slim"
	"skiff/test/bench/profile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	memory.Start()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	switch len(os.Args) {
	case 3:
	case 4:
		stop, err := profile.Start(os.Args[3])
		if err != nil {
			return fmt.Errorf("profiling: %w", err)
		}
		defer stop()
	default:
		return errors.New("usage: manager KUBECONFIG PKI [PROFILES]")
	}
	admin, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	files, err := pki.Load(pki.Config{Dir: os.Args[2], Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		return fmt.Errorf("reading the keys: %w", err)
	}
	as, err := newIdentities(admin, files)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	reader, err := kubernetes.NewForConfig(as.config("system:kube-controller-manager", "system:masters"))
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(reader, 0, informers.WithTransform(slim.Transform()))
	cfg := controllers.Default()
	cfg.LeaderElect = true
	cert, key := files.Authority()
	all, err := controllers.New(cfg, controllers.Deps{
		ClientConfig: as.config, Informers: factory, RootCA: files.CA(),
		Authority: &certificates.Authority{Certificate: cert, Key: key},
	})
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return memory.Settle(ctx) })
	group.Go(func() error { return all.Run(ctx) })
	return group.Wait()
}

// identities answers clients. Those of service accounts have tokens, as those of kube-controller-manager do: all of them
// then share a connection.
type identities struct {
	admin  *rest.Config
	files  *pki.PKI
	client kubernetes.Interface
}

// newIdentities answers those of the cluster that admin may do everything in.
func newIdentities(admin *rest.Config, files *pki.PKI) (identities, error) {
	client, err := kubernetes.NewForConfig(admin)
	return identities{admin: admin, files: files, client: client}, err
}

// config speaks as the user.
func (i identities) config(user string, groups ...string) *rest.Config {
	c := rest.CopyConfig(i.admin)
	c.QPS = -1
	c.CertData, c.KeyData, c.CertFile, c.KeyFile = nil, nil, "", ""
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = c.ContentType + ",application/json"
	var err error
	if namespace, name, bad := serviceaccount.SplitUsername(user); bad == nil {
		c.BearerToken, err = i.token(namespace, name)
	} else {
		c.CertData, c.KeyData, err = i.files.Issue(user, groups...)
	}
	if err != nil {
		panic(err) // no identity, no benchmark
	}
	return c
}

func (i identities) token(namespace, name string) (string, error) {
	accounts := i.client.CoreV1().ServiceAccounts(namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	if _, err := accounts.Create(context.Background(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("creating service account %s: %w", name, err)
	}
	hours := int64(12 * 3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}
	answer, err := accounts.CreateToken(context.Background(), name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking for a token of %s: %w", name, err)
	}
	return answer.Status.Token, nil
}

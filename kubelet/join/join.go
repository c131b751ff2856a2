package join

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/internal/jointoken"
)

// issuePatience is how long a certificate may take while somebody waits for it.
const issuePatience = time.Minute

// Config says who joins what.
type Config struct {
	// Dir is where certificates are kept.
	Dir string
	// Server is the URL of the API.
	Server *url.URL
	// Node is the node's name, Addresses are those that its endpoint is reached at.
	Node      string
	Addresses []netip.Addr
}

func (c Config) file(name string) string { return filepath.Join(c.Dir, name) }

func (c Config) kubelet() kept {
	return kept{
		file: c.file("kubelet.pem"), signer: certificatesv1.KubeAPIServerClientKubeletSignerName, usage: certificatesv1.UsageClientAuth,
		user: "system:node:" + c.Node, group: "system:nodes",
	}
}

func (c Config) agent() kept {
	return kept{
		file: c.file("agent.pem"), signer: certificatesv1.KubeAPIServerClientSignerName, usage: certificatesv1.UsageClientAuth,
		user: "skiff:agent:" + c.Node, group: "skiff:agents",
	}
}

func (c Config) serving() kept {
	return kept{
		file: c.file("serving.pem"), signer: certificatesv1.KubeletServingSignerName, usage: certificatesv1.UsageServerAuth,
		user: "system:node:" + c.Node, group: "system:nodes", names: []string{c.Node}, addresses: c.Addresses,
	}
}

// Joined reports whether the host has joined and its certificate is good still.
func (c Config) Joined() (bool, error) {
	if _, err := os.Stat(c.file("ca.crt")); err != nil {
		return false, nil //nolint:nilerr // without an authority nothing has begun
	}
	cert, err := c.kubelet().read()
	if err != nil {
		return false, err
	}
	_, good := c.kubelet().good(cert, time.Now())
	return good, nil
}

// Join gets the authority and the kubelet's certificate by a token. Its errors are one line for the user.
func Join(ctx context.Context, c Config, token jointoken.Token) error {
	ca, err := authority(ctx, c.Server, token.Pin)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: c.Server.String(), BearerToken: token.Bearer(), TLSClientConfig: rest.TLSClientConfig{CAData: ca}, UserAgent: userAgent, Timeout: dialTimeout,
	})
	if err != nil {
		return fmt.Errorf("making the client that joins: %w", err)
	}
	if err := free(ctx, client, c, token); err != nil {
		return err
	}
	if err := c.trust(ca); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, issuePatience)
	defer cancel()
	return c.kubelet().request(ctx, client)
}

// trust keeps the cluster's authority. Certificates of another cluster, which the host was part of before, go first: by
// their names and dates they would look good.
func (c Config) trust(ca []byte) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of certificates: %w", err)
	}
	if before, err := os.ReadFile(c.file("ca.crt")); err == nil && !bytes.Equal(before, ca) {
		for _, k := range []kept{c.kubelet(), c.agent(), c.serving()} {
			if err := os.Remove(k.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing a certificate of another cluster: %w", err)
			}
		}
	}
	return replace(c.file("ca.crt"), ca)
}

// free reports that the name of the node is another one's, as kubeadm does: one that is ready isn't this host, which has
// no certificate yet.
func free(ctx context.Context, client kubernetes.Interface, c Config, token jointoken.Token) error {
	node, err := client.CoreV1().Nodes().Get(ctx, c.Node, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("token: the server does not know %s: it has expired or was revoked: create one on the server with `skiff token create`", token.ID)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("token: %s does not let nodes join (%w): create one on the server with `skiff token create`", token.ID, err)
	case err != nil:
		return unreachable(c.Server, err)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return fmt.Errorf("node-name: a node %s is in the cluster and Ready: give this one another name with --node-name, or remove that one with `kubectl delete node %s`", c.Node, c.Node)
		}
	}
	return nil
}

var errNoCertificate = errors.New("the node has no serving certificate yet")

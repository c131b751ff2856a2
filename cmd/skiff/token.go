package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	bootstrapsecrets "k8s.io/cluster-bootstrap/util/secrets"
	bootstraptokens "k8s.io/cluster-bootstrap/util/tokens"

	"skiff/internal/jointoken"
)

// joiningGroup is what a node is that joins: what it may stands in config/manifests/joining-*.
const joiningGroup = "system:bootstrappers:skiff:default-node-token"

func newToken() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Create, list and revoke the tokens that nodes join by"}
	var kubeconfig string
	c.PersistentFlags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of an administrator (default as `skiff kubectl`: the user's, else the server's)")
	c.AddCommand(newTokenCreate(&kubeconfig), newTokenList(&kubeconfig), newTokenRevoke(&kubeconfig))
	return c
}

func newTokenCreate(kubeconfig *string) *cobra.Command {
	var ttl time.Duration
	var description string
	c := &cobra.Command{
		Use:   "create",
		Short: "Create a token and print it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if ttl < 0 {
				return errors.New("ttl: a token can't end before it begins: give a positive duration, or 0 for a token that never expires")
			}
			rc, client, err := administrator(*kubeconfig)
			if err != nil {
				return err
			}
			token, err := createToken(c.Context(), client, rc.CAData, ttl, description)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), token)
			fmt.Fprintf(c.ErrOrStderr(), "on the host that shall join:\n  skiff agent --server %s --token TOKEN\n", serverURL(c.Context(), client, rc.Host))
			return nil
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long nodes may join by it; 0 never ends")
	c.Flags().StringVar(&description, "description", "", "what it is for, shown by list")
	return c
}

func newTokenList(kubeconfig *string) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, client, err := administrator(*kubeconfig)
			if err != nil {
				return err
			}
			list, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(c.Context(), metav1.ListOptions{
				FieldSelector: "type=" + string(bootstrapapi.SecretTypeBootstrapToken),
			})
			if err != nil {
				return fmt.Errorf("listing tokens: %w", err)
			}
			return printTokens(c.OutOrStdout(), list.Items, time.Now())
		},
	}
}

var tokenID = regexp.MustCompile(bootstrapapi.BootstrapTokenIDPattern)

func newTokenRevoke(kubeconfig *string) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Let no more nodes join by a token; nodes that have joined stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id := args[0]
			if whole, err := jointoken.Parse(id); err == nil {
				id = whole.ID
			} else if short, _, err := bootstraptokens.ParseToken(id); err == nil {
				id = short
			} else if !tokenID.MatchString(id) { // it may hold the secret, which is not repeated
				return errors.New("token: that is no ID: give the six letters and digits that `skiff token list` shows")
			}
			_, client, err := administrator(*kubeconfig)
			if err != nil {
				return err
			}
			err = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(c.Context(), bootstrapapi.BootstrapTokenSecretPrefix+id, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return fmt.Errorf("token %s: there is none of this ID: `skiff token list` shows those there are", id)
			}
			if err != nil {
				return fmt.Errorf("revoking token %s: %w", id, err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "token %s revoked\n", id)
			return err
		},
	}
}

// administrator reads a kubeconfig as kubectl does.
func administrator(kubeconfig string) (*rest.Config, kubernetes.Interface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cmp.Or(kubeconfig, ownKubeconfig())
	rc, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err == nil {
		err = rest.LoadTLSFiles(rc)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig: %w: give an administrator's with --kubeconfig, or run this on the server's host as root", err)
	}
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return rc, client, nil
}

// createToken makes a bootstrap token as a Secret in kube-system, and answers it with the pin of the cluster's authority.
func createToken(ctx context.Context, client kubernetes.Interface, ca []byte, ttl time.Duration, description string) (jointoken.Token, error) {
	pin, err := jointoken.PinOfPEM(ca)
	if err != nil {
		return jointoken.Token{}, fmt.Errorf("kubeconfig: reading its certificate-authority: %w: give the one that the server wrote with --kubeconfig", err)
	}
	text, err := bootstraputil.GenerateBootstrapToken()
	if err != nil {
		return jointoken.Token{}, fmt.Errorf("drawing a token: %w", err)
	}
	token := jointoken.Token{Pin: pin}
	if token.ID, token.Secret, err = bootstraptokens.ParseToken(text); err != nil {
		return token, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: bootstrapapi.BootstrapTokenSecretPrefix + token.ID},
		Type:       bootstrapapi.SecretTypeBootstrapToken,
		StringData: map[string]string{
			bootstrapapi.BootstrapTokenIDKey: token.ID, bootstrapapi.BootstrapTokenSecretKey: token.Secret,
			bootstrapapi.BootstrapTokenUsageAuthentication: "true", bootstrapapi.BootstrapTokenUsageSigningKey: "true",
			bootstrapapi.BootstrapTokenExtraGroupsKey: joiningGroup,
		},
	}
	if ttl > 0 {
		secret.StringData[bootstrapapi.BootstrapTokenExpirationKey] = time.Now().Add(ttl).UTC().Format(time.RFC3339)
	}
	if description != "" {
		secret.StringData[bootstrapapi.BootstrapTokenDescriptionKey] = description
	}
	if _, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return token, fmt.Errorf("creating the token: %w", err)
	}
	return token, nil
}

// serverURL is where other hosts reach the API: what it announces itself, else what the kubeconfig has.
func serverURL(ctx context.Context, client kubernetes.Interface, fallback string) string {
	slice, err := client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || len(slice.Endpoints) == 0 || len(slice.Ports) == 0 || slice.Ports[0].Port == nil {
		return fallback
	}
	return "https://" + net.JoinHostPort(slice.Endpoints[0].Addresses[0], strconv.Itoa(int(*slice.Ports[0].Port)))
}

// printTokens lists tokens by ID.
func printTokens(out io.Writer, list []corev1.Secret, now time.Time) error {
	slices.SortFunc(list, func(a, b corev1.Secret) int { return cmp.Compare(a.Name, b.Name) })
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tEXPIRES IN\tDESCRIPTION")
	for i := range list {
		s := &list[i]
		left := "never"
		if bootstrapsecrets.HasExpired(s, now) {
			left = "expired"
		} else if at, err := time.Parse(time.RFC3339, bootstrapsecrets.GetData(s, bootstrapapi.BootstrapTokenExpirationKey)); err == nil {
			left = duration.HumanDuration(at.Sub(now))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", bootstrapsecrets.GetData(s, bootstrapapi.BootstrapTokenIDKey), left, bootstrapsecrets.GetData(s, bootstrapapi.BootstrapTokenDescriptionKey))
	}
	return w.Flush()
}

// environment of a token that a flag may be left out for.
const tokenVariable = "SKIFF_TOKEN"

func tokenFromEnvironment() string { return os.Getenv(tokenVariable) }

package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"skiff/apis/server/bootstrap"
)

const (
	// announceEvery is well within the time a silent server counts as alive.
	announceEvery   = 5 * time.Second
	namespacesEvery = time.Minute
	retryBootstrap  = 50 * time.Millisecond
	withdrawTimeout = 500 * time.Millisecond
)

// addHooks makes the bootstrap objects part of becoming ready.
func (s *Server) addHooks() error {
	client, err := kubernetes.NewForConfig(s.config.Loopback.Config(user.APIServerUser, user.SystemPrivilegedGroup))
	if err != nil {
		return fmt.Errorf("making the bootstrap client: %w", err)
	}
	b := bootstrap.Bootstrap{Client: client}
	hook := func(name string, fn genericserver.PostStartHookFunc) {
		s.core.AddPostStartHookOrDie(name, fn)
	}
	hook("bootstrap-system-objects", func(h genericserver.PostStartHookContext) error {
		untilDone(h, func(ctx context.Context) error { return s.bootstrap(ctx, b) })
		s.background.Go(func() { s.keep(h, b) })
		return nil
	})
	return s.core.AddPreShutdownHook("withdraw-server", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), withdrawTimeout) //nolint:forbidigo // the hook has no context
		defer cancel()
		return s.config.Etcd.Withdraw(ctx, s.config.AdvertiseAddress)
	})
}

// untilDone repeats fn until it succeeds or ctx ends.
func untilDone(ctx context.Context, fn func(context.Context) error) {
	_ = wait.PollUntilContextCancel(ctx, retryBootstrap, true, func(ctx context.Context) (bool, error) {
		err := fn(ctx)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Bootstrapping is retried", "err", err)
		}
		return err == nil, nil
	})
}

// bootstrap makes what the served groups allow.
func (s *Server) bootstrap(ctx context.Context, b bootstrap.Bootstrap) error {
	if err := b.Namespaces(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	run := func(group string, fn func(context.Context) error) {
		if serves(s.resources, group) {
			g.Go(func() error { return fn(ctx) })
		}
	}
	run("rbac.authorization.k8s.io", b.Roles)
	run("scheduling.k8s.io", b.PriorityClasses)
	run("flowcontrol.apiserver.k8s.io", b.FlowControl)
	run("", func(ctx context.Context) error { return b.Authentication(ctx, s.authorities()) })
	run("", b.LegacyTokens)
	run("discovery.k8s.io", func(ctx context.Context) error { return s.publish(ctx, b) })
	return g.Wait()
}

// keep repeats what others may undo, until ctx ends.
func (s *Server) keep(ctx context.Context, b bootstrap.Bootstrap) {
	announce, namespaces := time.NewTicker(announceEvery), time.NewTicker(namespacesEvery)
	defer announce.Stop()
	defer namespaces.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-announce.C:
			err = s.publish(ctx, b)
		case <-namespaces.C:
			err = b.Namespaces(ctx)
		}
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Keeping the system objects")
		}
	}
}

// publish keeps this server among the endpoints of the kubernetes Service. An
// address on the loopback is none: nobody else could reach it.
func (s *Server) publish(ctx context.Context, b bootstrap.Bootstrap) error {
	servers, err := s.config.Etcd.Announce(ctx, s.config.AdvertiseAddress)
	if err != nil {
		return err
	}
	api := bootstrap.API{ClusterIP: firstOf(s.config.ServiceCIDR), Port: s.port()}
	if err := b.Service(ctx, api); err != nil {
		return err
	}
	if api.Addresses = slices.DeleteFunc(servers, netip.Addr.IsLoopback); len(api.Addresses) == 0 {
		return nil
	}
	return b.Endpoints(ctx, api)
}

// firstOf is the first usable address: the kubernetes Service's.
func firstOf(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

func (s *Server) port() int32 {
	if a, ok := s.Addr().(*net.TCPAddr); ok {
		return int32(a.Port) //nolint:gosec // a port
	}
	return 443
}

func (s *Server) authorities() bootstrap.Authentication {
	a := bootstrap.Authentication{ClientCA: s.config.Access.CertificateAuthority.CurrentCABundleContent()}
	if h := s.config.Access.RequestHeader; h != nil {
		a.RequestHeaderCA, a.AllowedNames = h.CAContentProvider.CurrentCABundleContent(), h.AllowedClientNames.Value()
	}
	return a
}

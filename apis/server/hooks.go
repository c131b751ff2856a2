package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

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
	repairEvery     = time.Minute
	forgetEvery     = time.Hour
	retryBootstrap  = 50 * time.Millisecond
	withdrawTimeout = 500 * time.Millisecond
)

// keeper is a resource that repairs what belongs to it until ctx ends.
type keeper interface{ Keep(ctx context.Context) }

// addHooks makes the bootstrap objects part of becoming ready. The hooks have
// upstream's names, which /readyz shows.
func (s *Server) addHooks() error {
	client, err := kubernetes.NewForConfig(s.config.Loopback.Config(user.APIServerUser, user.SystemPrivilegedGroup))
	if err != nil {
		return fmt.Errorf("making the bootstrap client: %w", err)
	}
	b := bootstrap.Bootstrap{Client: client}
	s.core.AddPostStartHookOrDie("storage-readiness", s.core.StorageReadinessHook.Hook)
	namespaces := make(chan struct{})
	s.core.AddPostStartHookOrDie("start-system-namespaces-controller", func(h genericserver.PostStartHookContext) error {
		untilDone(h, b.Namespaces)
		close(namespaces)
		s.background.Go(func() { s.keep(h, b) })
		return nil
	})
	later := func(hook string, fn func(context.Context)) {
		s.core.AddPostStartHookOrDie(hook, func(h genericserver.PostStartHookContext) error {
			select {
			case <-namespaces:
				fn(h)
			case <-h.Done():
			}
			return nil
		})
	}
	for _, o := range s.systemObjects(b) {
		if serves(s.resources, o.group) {
			later(o.hook, func(ctx context.Context) { untilDone(ctx, o.make) })
		}
	}
	if serves(s.resources, "coordination.k8s.io") {
		if err := s.addIdentity(b, later); err != nil {
			return err
		}
	}
	later("start-service-ip-repair-controllers", func(ctx context.Context) {
		for _, r := range s.resources {
			if k, ok := r.(keeper); ok {
				s.background.Go(func() { k.Keep(ctx) })
			}
		}
	})
	return s.core.AddPreShutdownHook("withdraw-server", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), withdrawTimeout) //nolint:forbidigo // the hook has no context
		defer cancel()
		report(ctx, s.config.Etcd.Withdraw(ctx, s.config.AdvertiseAddress)) // others notice a silent server, too
		return nil
	})
}

// systemObject is a step of the bootstrap; it needs the system namespaces.
type systemObject struct {
	hook   string
	group  string // without which there is no such object
	repair bool   // whether it is made again when somebody undoes it
	make   func(context.Context) error
}

func (s *Server) systemObjects(b bootstrap.Bootstrap) []systemObject {
	objects := []systemObject{
		{hook: "rbac/bootstrap-roles", group: "rbac.authorization.k8s.io", make: b.Roles},
		{hook: "scheduling/bootstrap-system-priority-classes", group: "scheduling.k8s.io", make: b.PriorityClasses},
		{hook: "priority-and-fairness-config-producer", group: "flowcontrol.apiserver.k8s.io", repair: true, make: b.FlowControl},
		{hook: "start-cluster-authentication-info-controller", repair: true, make: func(ctx context.Context) error { return b.Authentication(ctx, s.authorities()) }},
		{hook: "start-legacy-token-tracking-controller", repair: true, make: b.LegacyTokens},
		{hook: "start-kubernetes-service-cidr-controller", group: "networking.k8s.io", repair: true, make: func(ctx context.Context) error { return b.ServiceCIDR(ctx, s.config.ServiceCIDRs) }},
		{hook: "bootstrap-controller", group: "discovery.k8s.io", make: func(ctx context.Context) error { return s.publish(ctx, b) }},
	}
	if s.config.LocalPath {
		objects = append(objects, systemObject{hook: "storage/bootstrap-local-path", group: "storage.k8s.io", make: b.LocalPath})
	}
	if s.config.Ingress {
		objects = append(objects, systemObject{hook: "networking/bootstrap-ingress", group: "networking.k8s.io", make: b.Ingress})
	}
	if s.config.LoadBalancer {
		objects = append(objects, systemObject{hook: "core/bootstrap-load-balancer", group: "rbac.authorization.k8s.io", make: b.LoadBalancer})
	}
	if s.config.NodeConfig != nil {
		joining := func(ctx context.Context) error { return b.Joining(ctx, s.config.NodeConfig) }
		objects = append(objects, systemObject{hook: "rbac/bootstrap-joining", group: "rbac.authorization.k8s.io", make: joining})
	}
	return objects
}

// addIdentity lets other components know the server by a lease.
func (s *Server) addIdentity(b bootstrap.Bootstrap, hook func(string, func(context.Context))) error {
	id := &bootstrap.Identity{Client: b, ServerID: s.base.APIServerID, Advertise: s.config.AdvertiseAddress, Port: s.port()}
	hook("start-kube-apiserver-identity-lease-controller", func(ctx context.Context) {
		untilDone(ctx, id.Claim)
		if ctx.Err() == nil {
			s.background.Go(func() { id.Run(ctx) })
		}
	})
	hook("start-kube-apiserver-identity-lease-garbage-collector", func(ctx context.Context) {
		s.background.Go(func() {
			wait.UntilWithContext(ctx, func(ctx context.Context) { report(ctx, b.ForgetServers(ctx)) }, forgetEvery)
		})
	})
	return s.core.AddPreShutdownHook("stop-kube-apiserver-identity-lease-controller", func() error {
		id.Release()
		return nil
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

// keep repeats what others may undo, until ctx ends.
func (s *Server) keep(ctx context.Context, b bootstrap.Bootstrap) {
	announce, repair := time.NewTicker(announceEvery), time.NewTicker(repairEvery)
	defer announce.Stop()
	defer repair.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-announce.C:
			if serves(s.resources, "discovery.k8s.io") {
				report(ctx, s.publish(ctx, b))
			}
		case <-repair.C:
			report(ctx, b.Namespaces(ctx))
			for _, o := range s.systemObjects(b) {
				if o.repair && serves(s.resources, o.group) {
					report(ctx, o.make(ctx))
				}
			}
		}
	}
}

// report logs an error, which the next round may mend.
func report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Keeping the system objects")
	}
}

// publish keeps this server among the endpoints of the kubernetes Service. An
// address on the loopback is none: nobody else could reach it.
func (s *Server) publish(ctx context.Context, b bootstrap.Bootstrap) error {
	servers, err := s.config.Etcd.Announce(ctx, s.config.AdvertiseAddress)
	if err != nil {
		return err
	}
	api := bootstrap.API{ClusterIP: firstOf(s.config.ServiceCIDRs[0]), Port: s.port()}
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

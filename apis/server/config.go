// Package server assembles the Kubernetes API server: kube-aggregator in front
// of the built-in resources it is handed, in front of custom resources, on
// k8s.io/apiserver's handler chain and the etcd of apis/server/etcd.
//
// Order of use: etcd.Start, loopback.New, NewAccess (who may do what; some
// resources need it), the resources, New, Run.
package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"k8s.io/client-go/informers"

	"skiff/apis/server/etcd"
	"skiff/apis/server/loopback"
	"skiff/config"
)

// Config is what New needs beyond the resources.
type Config struct {
	Etcd     *etcd.Etcd
	Loopback *loopback.Transport
	// Informers feed admission, the aggregator and the flow control. The caller
	// may share the factory with others; the server starts it.
	Informers informers.SharedInformerFactory
	Access    *Access
	Serving   Serving

	// Version is the gitVersion that /version reports.
	Version          string
	AdvertiseAddress netip.Addr // where clients in the cluster reach this server
	// ServiceCIDRs are the ranges of Services; the first one's first address is
	// the kubernetes Service.
	ServiceCIDRs   []netip.Prefix
	ProxyTransport *http.Transport
	// LocalPath makes the storage class of volumes on the nodes' disks, which
	// needs nodes that provision it.
	LocalPath bool
	// Ingress makes the default class of Ingresses, which needs nodes that serve it.
	Ingress bool
	// LoadBalancer makes the role of what gives Services the addresses of nodes.
	LoadBalancer bool
	// NodeConfig are the settings that nodes which join are given, by flag; nil
	// lets no node join.
	NodeConfig map[string]string
	// CheckPolicies writes into the status of ValidatingAdmissionPolicies what is
	// wrong with their expressions, which elsewhere kube-controller-manager does.
	CheckPolicies bool

	Flags      map[string]string // shown by /flagz; nil for no such page
	Audit      config.Audit
	Encryption config.Encryption
	Admission  config.Admission
	Limits     config.Limits
	Profiling  config.Profiling
}

// Serving is the network side: one TLS listener, and the files behind it. The
// files are watched: a renewed certificate is served without a restart.
type Serving struct {
	Listener          net.Listener
	CertFile, KeyFile string
	ClientCAFile      string
	// Proxy is the identity the aggregator shows to extension API servers.
	ProxyCertFile, ProxyKeyFile string
}

func (c *Config) validate() error {
	switch {
	case c.Etcd == nil, c.Loopback == nil, c.Informers == nil, c.Access == nil:
		return errors.New("the API server needs etcd, a loopback transport, informers and access")
	case c.Serving.Listener == nil, c.Serving.CertFile == "", c.Serving.KeyFile == "":
		return errors.New("the API server needs a listener and a serving certificate")
	case len(c.ServiceCIDRs) == 0 || !c.ServiceCIDRs[0].IsValid():
		return fmt.Errorf("service CIDRs %v are not prefixes", c.ServiceCIDRs)
	case c.Limits.RequestTimeout <= 0:
		return errors.New("the API server needs limits")
	case !c.AdvertiseAddress.IsValid():
		return errors.New("the advertise address is not set")
	}
	return nil
}

// Package csi speaks to the drivers of the Container Storage Interface on this node, and is the only importer of its
// specification.
//
// Drivers are those that registered (kubelet/plugins hands them over); a driver's node service stages, publishes and grows
// volumes. That a driver is here stands in the API too: in the node's CSINode, its annotation and its topology labels
// (node.go). What volumes are asked for, and in which order, is the business of kubelet/volumes.
package csi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/kubernetes"
)

// Timeout bounds one call of a driver, as upstream bounds it.
const Timeout = 2 * time.Minute

// Config says whose drivers these are.
type Config struct {
	NodeName string
}

// Deps is what drivers are registered with.
type Deps struct {
	// Client speaks as the node.
	Client kubernetes.Interface
	// Changed, if set, is called when a driver came.
	Changed func()
}

// Drivers are the drivers of this node. They are safe for concurrent use.
type Drivers struct {
	node    string
	client  kubernetes.Interface
	changed func()
	objects sync.Mutex // orders changes of the node's objects

	mu     sync.Mutex
	byName map[string]*Driver
}

// New makes an empty set.
func New(config Config, deps Deps) *Drivers {
	return &Drivers{node: config.NodeName, client: deps.Client, changed: deps.Changed, byName: map[string]*Driver{}}
}

// Get answers a driver by its name.
func (d *Drivers) Get(name string) (*Driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if found := d.byName[name]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("driver name %s not found in the list of registered CSI drivers", name)
}

// Register takes a driver that serves at endpoint: it is asked who it is on this node, and the answer goes into the API. A
// driver of the same name before it is replaced.
func (d *Drivers) Register(ctx context.Context, name, endpoint string, versions []string) error {
	if err := checkVersions(name, versions); err != nil {
		return err
	}
	driver, err := dial(name, endpoint)
	if err != nil {
		return err
	}
	info, err := driver.info(ctx)
	if err != nil {
		driver.close()
		return fmt.Errorf("error retrieving node info of driver %s: %w", name, err)
	}
	if err := d.announce(ctx, name, info); err != nil {
		driver.close()
		return fmt.Errorf("error updating the node's objects for driver %s: %w", name, err)
	}
	d.mu.Lock()
	before := d.byName[name]
	d.byName[name] = driver
	d.mu.Unlock()
	if before != nil {
		before.close()
	}
	if d.changed != nil {
		d.changed()
	}
	return nil
}

// Deregister lets a driver go. What it mounted stays until it is back.
func (d *Drivers) Deregister(ctx context.Context, name string) {
	d.mu.Lock()
	driver := d.byName[name]
	delete(d.byName, name)
	d.mu.Unlock()
	if driver != nil {
		driver.close()
	}
	d.withdraw(ctx, name)
}

// Close ends the connections to all drivers.
func (d *Drivers) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, driver := range d.byName {
		driver.close()
	}
	clear(d.byName)
}

// checkVersions wants one version of the specification that this package speaks: any 1.x.
func checkVersions(name string, versions []string) error {
	if len(versions) == 0 {
		return fmt.Errorf("plugin %q does not state which versions it supports", name)
	}
	for _, version := range versions {
		major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
		if major == "1" {
			return nil
		}
	}
	return fmt.Errorf("versions %q of driver %q are not supported by the kubelet", versions, name)
}

// Driver is one driver's node service.
type Driver struct {
	name string
	conn *grpc.ClientConn
	node spec.NodeClient

	mu   sync.Mutex
	able map[spec.NodeServiceCapability_RPC_Type]bool // nil until the driver was asked
}

func dial(name, endpoint string) (*Driver, error) {
	if endpoint == "" {
		return nil, errors.New("a CSI driver needs an endpoint")
	}
	conn, err := grpc.NewClient("unix://"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("making a client of CSI driver %s: %w", name, err)
	}
	return &Driver{name: name, conn: conn, node: spec.NewNodeClient(conn)}, nil
}

func (d *Driver) close() { _ = d.conn.Close() }

// Can says whether the driver has an ability. A driver has the same ones for as long as it is registered. Until it answered
// once every caller asks, so that none waits for another's call, which may hang.
func (d *Driver) Can(ctx context.Context, ability Ability) (bool, error) {
	d.mu.Lock()
	able := d.able
	d.mu.Unlock()
	if able != nil {
		return able[ability], nil
	}
	answer, err := call(ctx, d.node.NodeGetCapabilities, &spec.NodeGetCapabilitiesRequest{})
	if err != nil {
		return false, err
	}
	able = map[spec.NodeServiceCapability_RPC_Type]bool{}
	for _, one := range answer.GetCapabilities() {
		able[one.GetRpc().GetType()] = true
	}
	d.mu.Lock()
	d.able = able
	d.mu.Unlock()
	return able[ability], nil
}

// call makes one call within Timeout. Its error is gRPC's own, whose text users see.
func call[In, Out any](ctx context.Context, method func(context.Context, In, ...grpc.CallOption) (Out, error), in In) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return method(ctx, in)
}

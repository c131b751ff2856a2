// Package plugins registers the programs that extend the node: CSI drivers and, once somebody handles them, device plugins
// and DRA drivers.
//
// A plugin puts a unix socket below <kubelet directory>/plugins_registry and answers there who it is (GetInfo of
// k8s.io/kubelet/pkg/apis/pluginregistration/v1). The handler of its type takes it, and the plugin is told whether it was
// (NotifyRegistrationStatus). It is let go when its socket goes, and taken again when another comes in its place. What to do
// is decided from the sockets that there are, never from an event, so that a missed one costs nothing (plan.go).
package plugins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	// patience bounds each of a plugin's answers.
	patience = 10 * time.Second
	// relist is how often the directory is read although nothing told to.
	relist = time.Minute
)

// Handler takes the plugins of one type. Its methods are called for several plugins at once.
type Handler interface {
	// Register takes a plugin that serves at endpoint, a unix socket, and speaks the given versions. The plugin is told the
	// error.
	Register(ctx context.Context, name, endpoint string, versions []string) error
	// Deregister lets a plugin go. It is idempotent.
	Deregister(ctx context.Context, name string)
}

// Config says where plugins register.
type Config struct {
	// Root is the kubelet's directory.
	Root string
}

// Watcher registers plugins.
type Watcher struct {
	dir      string
	handlers map[string]Handler
	poked    chan struct{}
	workers  sync.WaitGroup

	mu    sync.Mutex
	known map[string]*state
	taken uint64 // the last registration's
}

// plugin is what registered through a socket.
type plugin struct{ kind, name string }

// New makes a watcher that gives plugins to the handlers of their types, such as registerapi.CSIPlugin.
func New(config Config, handlers map[string]Handler) (*Watcher, error) {
	if !filepath.IsAbs(config.Root) {
		return nil, fmt.Errorf("plugins need an absolute directory, not %q", config.Root)
	}
	return &Watcher{
		dir: filepath.Join(config.Root, "plugins_registry"), handlers: handlers, poked: make(chan struct{}, 1), known: map[string]*state{},
	}, nil
}

// Run registers plugins until ctx ends. They stay registered: handlers end with the node.
func (w *Watcher) Run(ctx context.Context) error {
	if err := os.MkdirAll(w.dir, 0o750); err != nil {
		return fmt.Errorf("making the directory of plugins: %w", err)
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the directory of plugins: %w", err)
	}
	defer func() { _ = events.Close() }()
	defer w.workers.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-w.poked:
		case <-events.Events:
		case err := <-events.Errors:
			klog.FromContext(ctx).Error(err, "Lost track of the directory of plugins, reading it again")
		}
		found, err := w.list(events)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Could not read the directory of plugins")
		}
		timer.Reset(w.act(ctx, found))
	}
}

// list reads the sockets that there are and follows the directories that they are in. One that can't be followed or read
// is an error that hides no other: a plugin whose socket isn't found is let go.
func (w *Watcher) list(events *fsnotify.Watcher) (map[string]identity, error) {
	found := map[string]identity{}
	var failures []error
	err := filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			// What was registered below it stays as it was.
			w.keep(path, found)
			failures = append(failures, err)
			return nil
		case path != w.dir && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			// Followed before it is read, so that nothing comes unseen in between.
			failures = append(failures, ignoreMissing(events.Add(path)))
			return nil
		case entry.Type() != fs.ModeSocket:
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			failures = append(failures, ignoreMissing(err))
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			found[path] = identity{device: st.Dev, inode: st.Ino, changed: info.ModTime()}
		}
		return nil
	})
	return found, errors.Join(append(failures, err)...)
}

// keep counts as found what is known of the sockets below a directory that can't be read.
func (w *Watcher) keep(dir string, found map[string]identity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, s := range w.known {
		if s.registered != nil && strings.HasPrefix(path, dir+"/") {
			found[path] = s.id
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// act begins what is to be done and answers when to look again.
func (w *Watcher) act(ctx context.Context, found map[string]identity) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, s := range w.known {
		if _, there := found[path]; !there && !s.busy && s.registered == nil {
			delete(w.known, path)
		}
	}
	steps, wait := plan(found, w.known, time.Now())
	for _, step := range steps {
		s := w.known[step.path]
		if s == nil || (step.register && s.id != found[step.path]) {
			s = &state{}
			w.known[step.path] = s
		}
		if step.register {
			s.id = found[step.path]
		}
		s.busy = true
		w.workers.Go(func() { w.do(ctx, step, s) })
	}
	if wait < 0 {
		wait = relist
	}
	return wait
}

// do registers or deregisters and has the loop look again.
func (w *Watcher) do(ctx context.Context, step step, s *state) {
	var registered *plugin
	var err error
	if step.register {
		registered, err = w.register(ctx, step.path)
	} else {
		w.deregister(ctx, s)
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Could not register a plugin", "socket", step.path)
	}
	w.mu.Lock()
	s.busy, s.registered = false, registered
	if registered != nil {
		w.taken++
		s.taken = w.taken
	}
	if err != nil {
		s.failed(time.Now())
	}
	w.mu.Unlock()
	select {
	case w.poked <- struct{}{}:
	default:
	}
}

// deregister lets go of what was registered through a socket, unless it registered through another since, as a driver does
// whose new pod starts before the old one's end. If it registered through another before, it is to do so again.
func (w *Watcher) deregister(ctx context.Context, s *state) {
	w.mu.Lock()
	gone := *s.registered
	others := w.others(s, gone)
	w.mu.Unlock()
	handler := w.handlers[gone.kind]
	if handler == nil || slices.ContainsFunc(others, func(other *state) bool { return other.taken > s.taken }) {
		return
	}
	handler.Deregister(ctx, gone.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.others(s, gone) {
		if other.taken < s.taken && !other.busy {
			other.registered = nil
		}
	}
}

// others are the other sockets that a plugin is registered through; mu is held.
func (w *Watcher) others(s *state, of plugin) []*state {
	var out []*state
	for _, other := range w.known {
		if other != s && other.registered != nil && *other.registered == of {
			out = append(out, other)
		}
	}
	return out
}

// register asks a plugin who it is, has its handler take it and tells it what came of that.
func (w *Watcher) register(ctx context.Context, socket string) (*plugin, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("making a client of the plugin: %w", err)
	}
	defer func() { _ = conn.Close() }()
	client := registerapi.NewRegistrationClient(conn)
	info, err := ask(ctx, func(ctx context.Context) (*registerapi.PluginInfo, error) {
		return client.GetInfo(ctx, &registerapi.InfoRequest{})
	})
	if err != nil {
		return nil, fmt.Errorf("failed to get plugin info using RPC GetInfo at socket %s: %w", socket, err)
	}
	failure := w.take(ctx, socket, info)
	status := &registerapi.RegistrationStatus{PluginRegistered: failure == nil}
	if failure != nil {
		status.Error = failure.Error()
	}
	_, err = ask(ctx, func(ctx context.Context) (*registerapi.RegistrationStatusResponse, error) {
		return client.NotifyRegistrationStatus(ctx, status)
	})
	if err != nil {
		err = fmt.Errorf("failed to send registration status at socket %s: %w", socket, err)
	}
	if failure != nil {
		return nil, errors.Join(failure, err)
	}
	if err != nil {
		// A plugin that doesn't know that it was taken may start over.
		w.handlers[info.GetType()].Deregister(ctx, info.GetName())
		return nil, err
	}
	return &plugin{kind: info.GetType(), name: info.GetName()}, nil
}

// take gives the plugin to the handler of its type. A plugin that names no endpoint serves where it registers.
func (w *Watcher) take(ctx context.Context, socket string, info *registerapi.PluginInfo) error {
	handler := w.handlers[info.GetType()]
	if handler == nil {
		return fmt.Errorf("no handler registered for plugin type: %s at socket %s", info.GetType(), socket)
	}
	endpoint := info.GetEndpoint()
	if endpoint == "" {
		endpoint = socket
	}
	if err := handler.Register(ctx, info.GetName(), endpoint, info.GetSupportedVersions()); err != nil {
		return fmt.Errorf("plugin registration failed with err: %w", err)
	}
	return nil
}

func ask[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return call(ctx)
}

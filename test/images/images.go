// Package images builds the container images of the tests from what is on the
// machine: Debian's packages and Go programs of this module.
package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"skiff/internal/ociimage"
)

// app is the program of the Python image: an HTTP server on port 5000 that
// greets with its host's name and its version, and ends at once on SIGTERM.
const app = `import http.server, os, signal, socket, sys

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("Hello from %s%s\n" % (socket.gethostname(), os.environ.get("SUFFIX", ""))).encode()
        self.send_response(200)
        self.send_header("X-Version", os.environ["APP_VERSION"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, form, *args):
        print("request from %s" % self.address_string(), flush=True)
    def address_string(self):
        return self.client_address[0]

server = http.server.ThreadingHTTPServer(("", 5000), Hello)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("serving version", os.environ["APP_VERSION"], flush=True)
server.serve_forever()
`

// Python is an image of Debian's Python with the test application, in the given
// version.
func Python(version string) (ociimage.Image, error) {
	interpreter, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("python image: %w: install python3-minimal and libpython3-stdlib", err)
	}
	library := "/usr/lib/" + filepath.Base(interpreter)
	files, err := tree(library, regexp.MustCompile(`/(test|tests|idlelib|tkinter|lib2to3|ensurepip|distutils|__pycache__|config-[^/]*|pydoc_data|unittest|dist-packages)(/|$)`))
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("python image: %w", err)
	}
	dynamic, err := filepath.Glob(library + "/lib-dynload/*.so")
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("python image: %w", err)
	}
	linked, err := linkedFiles(append(dynamic, interpreter)...)
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("python image: %w", err)
	}
	files = append(files, linked...)
	python, err := file(interpreter, "/usr/bin/python3")
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("python image: %w", err)
	}
	files = append(files, python, ociimage.File{Path: "/app/main.py", Mode: 0o644, Data: []byte(app)})
	shell, err := busybox()
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("python image: %w", err)
	}
	return ociimage.Image{
		Entrypoint: []string{"/usr/bin/python3", "-S", "/app/main.py"},
		Env:        []string{"PATH=/usr/bin:/bin", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHOME=/usr", "APP_VERSION=" + version},
		WorkingDir: "/app",
		Files:      append(files, shell...),
	}, nil
}

// Agent is an image of busybox and of the program test/agent, built into dir.
func Agent(ctx context.Context, dir string) (ociimage.Image, error) {
	agent, err := program(ctx, dir, "agent")
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("agent image: %w", err)
	}
	files, err := busybox()
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("agent image: %w", err)
	}
	return ociimage.Image{
		Entrypoint: []string{"/bin/agent"},
		Command:    []string{"sleep"},
		Env:        []string{"PATH=/bin"},
		Files:      append(files, agent),
	}, nil
}

// Operator is an image of nothing but the program test/operator, built into dir.
func Operator(ctx context.Context, dir string) (ociimage.Image, error) {
	operator, err := program(ctx, dir, "operator")
	if err != nil {
		return ociimage.Image{}, fmt.Errorf("operator image: %w", err)
	}
	return ociimage.Image{Entrypoint: []string{"/bin/operator"}, User: "65532:65532", Files: []ociimage.File{operator}}, nil
}

// program builds a static program of this module's test folder.
func program(ctx context.Context, dir, name string) (ociimage.File, error) {
	path := filepath.Join(dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "skiff/test/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return ociimage.File{}, fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return file(path, "/bin/"+name)
}

// busybox answers Debian's static busybox with a link for each of its programs.
func busybox() ([]ociimage.File, error) {
	const source = "/bin/busybox"
	binary, err := file(source, "/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: install busybox-static", err)
	}
	files := []ociimage.File{binary, {Path: "/tmp", Mode: 0o1777, Dir: true}, {Path: "/etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\n")}}
	for _, name := range strings.Fields("sh cat ls tar tee echo sleep kill ps id env wget nslookup touch rm stat head tail date hostname mount seq test true false grep wc ip mkdir chmod sed nc printf") {
		files = append(files, ociimage.File{Path: "/bin/" + name, Link: "busybox"})
	}
	return files, nil
}

func file(source, target string) (ociimage.File, error) {
	data, err := os.ReadFile(source)
	if err != nil {
		return ociimage.File{}, err
	}
	return ociimage.File{Path: target, Mode: 0o755, Data: data}, nil
}

// tree reads all regular files below root that skip doesn't match.
func tree(root string, skip *regexp.Regexp) ([]ociimage.File, error) {
	var files []ociimage.File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip.MatchString(strings.TrimPrefix(path, root)) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := file(path, path)
		files = append(files, f)
		return err
	})
	return files, err
}

// linkedFiles answers the shared libraries, the loader included, that programs
// need, each under the path it is looked up at.
func linkedFiles(programs ...string) ([]ociimage.File, error) {
	var files []ociimage.File
	seen := map[string]bool{}
	for _, p := range programs {
		out, err := exec.Command("ldd", p).Output() //nolint:noctx // a moment's work
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return nil, fmt.Errorf("finding the libraries of %s: %w", p, err)
		}
		for line := range strings.Lines(string(out)) {
			for _, field := range strings.Fields(line) {
				if !strings.HasPrefix(field, "/") || seen[field] {
					continue
				}
				seen[field] = true
				f, err := file(field, field)
				if err != nil {
					return nil, err
				}
				files = append(files, f)
			}
		}
	}
	return files, nil
}

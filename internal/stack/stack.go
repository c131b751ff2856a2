// Package stack grows a goroutine's stack before it is needed.
//
// A request runs through some fifty handlers, on goroutines of its own. Their
// stacks start small and double whenever they are full, and each time the runtime
// looks up and moves every frame: a twentieth of what a write costs. Growing once,
// while there are few frames, costs nearly nothing.
package stack

// reserved makes a fresh stack 32 KB large, which requests seldom exceed.
const reserved = 16 << 10

// Reserve sees to it that the calling goroutine's stack has room for a request.
// The collector takes back what is not used.
//
//go:noinline
func Reserve() {
	var room [reserved]byte
	use(&room)
}

//go:noinline
func use(*[reserved]byte) {}

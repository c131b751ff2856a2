//go:build !race

package nodetest

// quiet has nothing to turn off without the race detector.
func quiet() {}

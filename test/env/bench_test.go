package env_test

import (
	"testing"

	"skiff/test/env"
)

// BenchmarkStart measures from nothing to ready, certificates and first objects
// included; BenchmarkRestart finds them on disk.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s := env.Start(b, env.Options{})
		b.StopTimer()
		s.Stop()
		b.StartTimer()
	}
}

func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	env.Start(b, env.Options{Dir: dir}).Stop()
	for b.Loop() {
		s := env.Start(b, env.Options{Dir: dir})
		b.StopTimer()
		s.Stop()
		b.StartTimer()
	}
}

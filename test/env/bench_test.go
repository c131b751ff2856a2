package env_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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

// BenchmarkIdle reports the memory of a server that nobody uses, and the share
// of a core that it takes.
func BenchmarkIdle(b *testing.B) {
	const pause = 30 * time.Second
	env.Start(b, env.Options{})
	for b.Loop() {
		before := cpu(b)
		time.Sleep(pause)
		b.ReportMetric(100*(cpu(b)-before).Seconds()/pause.Seconds(), "%core")
		b.ReportMetric(rss(b), "MB")
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is the resident memory in megabytes.
func rss(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(data))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

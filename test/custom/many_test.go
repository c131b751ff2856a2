package custom

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"skiff/test/env"
	"skiff/test/rawapi"
)

// wide is a schema of about 4,000 fields, as operators' pod templates have.
func wide() string {
	var b strings.Builder
	b.WriteString("type: object\nproperties:\n")
	for i := range 63 {
		fmt.Fprintf(&b, "  group%d:\n    type: array\n    description: %s\n    items:\n      type: object\n      properties:\n", i, strings.Repeat("words ", 20))
		for j := range 63 {
			fmt.Fprintf(&b, "        field%d: {type: string, description: 'one of many fields, said in a sentence', maxLength: 64}\n", j)
		}
	}
	return b.String()
}

func testLarge(t *testing.T, a *rawapi.API) {
	const group = "large.test"
	manifest := thing(group, wide(), "")
	define(t, a, manifest)
	made := a.Must(t, "POST", things(group), object(group, "x", "{group7: [{field62: a, other: b}]}"))
	if spec := rawapi.Flat(rawapi.At(made.Object, "spec")); spec != `{"group7":[{"field62":"a"}]}` {
		t.Errorf("stored %s", spec)
	}
	if got := a.Do(t, "POST", crds, asCRD+strings.Repeat("#", 4<<20)); got.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("an oversized body: %d", got.Code)
	}
}

// BenchmarkMany defines 200 resources at once and reports the time until all are
// served and published, and the memory they take.
func BenchmarkMany(b *testing.B) {
	const count = 200
	s := env.Start(b, env.Options{})
	a := rawapi.New(b, s.Admin())
	for b.Loop() {
		before := resident(b)
		for i := range count {
			a.Must(b, "POST", crds, asCRD+thing(fmt.Sprintf("many%d.test", i), values, "subresources: {status: {}}"))
		}
		for i := range count {
			rawapi.Eventually(b, "it is served", func() (bool, string) {
				got := a.Do(b, "GET", fmt.Sprintf("/apis/many%d.test/v1/things", i), "")
				return got.Code == http.StatusOK, got.Body
			})
		}
		rawapi.Eventually(b, "all are published", func() (bool, string) {
			got := a.Must(b, "GET", "/openapi/v3", "")
			return strings.Count(got.Body, "apis/many") >= count, got.Body
		})
		b.StopTimer()
		b.ReportMetric((resident(b)-before)/count, "MB/definition")
		for i := range count {
			a.Must(b, "DELETE", fmt.Sprintf("%s/things.many%d.test", crds, i), "")
		}
		b.StartTimer()
	}
}

// resident is the memory in use after a collection, in megabytes.
func resident(b *testing.B) float64 {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
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

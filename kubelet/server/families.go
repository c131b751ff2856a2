package server

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"k8s.io/klog/v2"
)

// families collects metrics that are read at the moment they are asked for, with the time they were measured.
type families struct {
	byName map[string]*dto.MetricFamily
}

func newFamilies() *families { return &families{byName: map[string]*dto.MetricFamily{}} }

// metric describes a family.
type metric struct {
	name, help string
	kind       dto.MetricType
}

// sample is one value of a family.
type sample struct {
	value  float64
	at     time.Time // zero: not told
	labels []string  // names and values in turn
}

func (f *families) add(m metric, s sample) {
	family, ok := f.byName[m.name]
	if !ok {
		family = &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: &m.kind}
		f.byName[m.name] = family
	}
	one := &dto.Metric{}
	for i := 0; i+1 < len(s.labels); i += 2 {
		one.Label = append(one.Label, &dto.LabelPair{Name: &s.labels[i], Value: &s.labels[i+1]})
	}
	if m.kind == dto.MetricType_COUNTER {
		one.Counter = &dto.Counter{Value: &s.value}
	} else {
		one.Gauge = &dto.Gauge{Value: &s.value}
	}
	if !s.at.IsZero() {
		stamp := s.at.UnixMilli()
		one.TimestampMs = &stamp
	}
	family.Metric = append(family.Metric, one)
}

// optional adds a value that may be unknown.
func (f *families) optional(m metric, value *uint64, scale float64, s sample) {
	if value == nil {
		return
	}
	s.value = float64(*value) * scale
	f.add(m, s)
}

// Gather answers all families by name.
func (f *families) Gather() ([]*dto.MetricFamily, error) {
	list := make([]*dto.MetricFamily, 0, len(f.byName))
	for _, family := range f.byName {
		list = append(list, family)
	}
	slices.SortFunc(list, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return list, nil
}

// gatherer answers the metrics of a source, none if it is nil.
func gatherer(source prometheus.Gatherer) http.Handler {
	if source == nil {
		source = newFamilies()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := expose(w, r, source); err != nil {
			klog.FromContext(r.Context()).Error(err, "Answering metrics failed", "path", r.URL.Path)
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// expose encodes metrics in the format the client prefers.
func expose(w http.ResponseWriter, r *http.Request, source prometheus.Gatherer) error {
	list, err := source.Gather()
	if err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	format := expfmt.Negotiate(r.Header)
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, format)
	for _, family := range list {
		if err := encoder.Encode(family); err != nil {
			return fmt.Errorf("encoding metrics: %w", err)
		}
	}
	if closer, ok := encoder.(expfmt.Closer); ok {
		if err := closer.Close(); err != nil {
			return fmt.Errorf("encoding metrics: %w", err)
		}
	}
	answer(w, r, string(format), body.Bytes())
	return nil
}

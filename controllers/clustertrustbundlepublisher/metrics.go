package clustertrustbundlepublisher

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-base/metrics"

	"skiff/controllers/internal/controller"
)

// counters are the metrics, under upstream's names. The label code is the status of the last request, 200 if all went
// well.
type counters struct {
	rounds *metrics.CounterVec
	times  *metrics.HistogramVec
}

func newCounters() *counters {
	const subsystem = "clustertrustbundle_publisher"
	return &counters{
		rounds: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "sync_total", StabilityLevel: metrics.ALPHA,
			Help: "Number of syncs that occurred in cluster trust bundle publisher.",
		}, []string{"code"}),
		times: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: subsystem, Name: "sync_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help: "The time it took to sync a cluster trust bundle.", Buckets: metrics.ExponentialBuckets(0.001, 2, 15),
		}, []string{"code"}),
	}
}

func (c *counters) register(registry controller.Registry) error {
	return controller.Register(registry, "the publisher of trust bundles", c.rounds, c.times)
}

// done counts a round.
func (c *counters) done(err error, took time.Duration) {
	code := http.StatusOK
	if err != nil {
		code = http.StatusInternalServerError
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Code != 0 {
			code = int(status.Status().Code)
		}
	}
	c.rounds.WithLabelValues(strconv.Itoa(code)).Inc()
	c.times.WithLabelValues(strconv.Itoa(code)).Observe(took.Seconds())
}

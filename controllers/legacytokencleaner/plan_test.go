package legacytokencleaner

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var today = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

func ago(days int) string { return today.AddDate(0, 0, -days).Format(time.DateOnly) }

func TestBegun(t *testing.T) {
	since := time.Date(2025, 6, 14, 0, 0, 0, 0, time.UTC)
	if begun := since.AddDate(0, 0, 366); Begun(since, begun.Add(-time.Second)) || !Begun(since, begun) {
		t.Error("the year does not begin with the day after the first one")
	}
}

func TestJudge(t *testing.T) {
	listed := &corev1.ServiceAccount{Secrets: []corev1.ObjectReference{{Name: "token"}}}
	for name, test := range map[string]struct {
		labels  map[string]string
		change  func(*corev1.Secret)
		account *corev1.ServiceAccount
		mounted bool
		want    Action
	}{
		"never used":                   {account: listed, want: Invalidate},
		"used a year ago":              {labels: map[string]string{lastUsed: ago(365)}, account: listed},
		"used before":                  {labels: map[string]string{lastUsed: ago(366)}, account: listed, want: Invalidate},
		"used nobody knows when":       {labels: map[string]string{lastUsed: "lately"}, account: listed},
		"mounted":                      {account: listed, mounted: true},
		"made by hand":                 {account: &corev1.ServiceAccount{}},
		"of no account":                {},
		"invalid for a year":           {labels: map[string]string{invalidSince: ago(365)}, account: listed},
		"invalid for longer":           {labels: map[string]string{invalidSince: ago(366)}, account: listed, want: Delete},
		"invalid, but used since":      {labels: map[string]string{invalidSince: ago(366), lastUsed: ago(3)}, account: listed},
		"invalid, but mounted since":   {labels: map[string]string{invalidSince: ago(366)}, account: listed, mounted: true},
		"invalid since nobody knows":   {labels: map[string]string{invalidSince: "long"}, account: listed, want: Invalidate},
		"a secret of another type":     {change: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, account: listed},
		"on its way out":               {change: func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{} }, account: listed},
		"made within the year":         {change: func(s *corev1.Secret) { s.CreationTimestamp = metav1.NewTime(today.AddDate(0, 0, -365)) }, account: listed},
		"made a second before its end": {change: func(s *corev1.Secret) { s.CreationTimestamp = metav1.NewTime(today.AddDate(0, 0, -365).Add(-1)) }, account: listed, want: Invalidate},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token", Labels: test.labels}, Type: corev1.SecretTypeServiceAccountToken}
		if test.change != nil {
			test.change(secret)
		}
		if got := Judge(secret, test.account, func() bool { return test.mounted }, today); got != test.want {
			t.Errorf("%s: %v, wanted %v", name, got, test.want)
		}
	}
}

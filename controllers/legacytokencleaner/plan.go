package legacytokencleaner

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Labels of a Secret with a token: the day it was last used, and since when it is not believed any more.
const (
	lastUsed     = "kubernetes.io/legacy-token-last-used"
	invalidSince = "kubernetes.io/legacy-token-invalid-since"
)

// unused is how long a token may go without use, and afterwards without complaint.
const unused = 365 * 24 * time.Hour

// Action is what is to be done with a token.
type Action int

// Actions.
const (
	Keep Action = iota
	Invalidate
	Delete
)

// Begun answers whether uses have been tracked for long enough to tell which tokens nobody uses. since is a day; the
// tracking may have begun at its end.
func Begun(since, now time.Time) bool { return !now.Before(since.AddDate(0, 0, 1).Add(unused)) }

// Judge answers what is to be done with the secret, whose account is nil if it is gone or another one; mounted says
// whether a pod names it, and is asked last.
//
// Only tokens that the cluster once made on its own are touched: those that their account lists.
func Judge(secret *corev1.Secret, account *corev1.ServiceAccount, mounted func() bool, now time.Time) Action {
	from := now.UTC().Add(-unused)
	day := from.Format(time.DateOnly)
	if secret.Type != corev1.SecretTypeServiceAccountToken || secret.DeletionTimestamp != nil || !secret.CreationTimestamp.Time.Before(from) {
		return Keep
	}
	if used, ok := secret.Labels[lastUsed]; ok && (!isDay(used) || used >= day) {
		return Keep
	}
	if account == nil || !slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret.Name }) {
		return Keep
	}
	since := secret.Labels[invalidSince]
	switch {
	case mounted():
		return Keep
	case !isDay(since):
		return Invalidate
	case since >= day:
		return Keep
	}
	return Delete
}

func isDay(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}

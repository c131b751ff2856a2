package bootstrapsigner

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cluster-bootstrap/token/jws"
)

func TestSigned(t *testing.T) {
	data := map[string]string{"kubeconfig": "content", "other": "x", "jws-kubeconfig-gone": "old"}
	got, err := Signed(data, map[string]string{"abcdef": "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got["other"] != "x" || !jws.DetachedTokenIsValid(got["jws-kubeconfig-abcdef"], "content", "abcdef", "0123456789abcdef") {
		t.Errorf("signed: %v", got)
	}
	if again, err := Signed(got, map[string]string{"abcdef": "0123456789abcdef"}); again != nil || err != nil {
		t.Errorf("signed twice: %v, %v", again, err)
	}
	if got, err := Signed(map[string]string{"other": "x"}, map[string]string{"a": "b"}); got != nil || err != nil {
		t.Errorf("signed nothing: %v, %v", got, err)
	}
}

func TestToken(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tt := range map[string]struct {
		change func(*corev1.Secret)
		want   bool
	}{
		"good":         {func(*corev1.Secret) {}, true},
		"other type":   {func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, false},
		"other name":   {func(s *corev1.Secret) { s.Name = "bootstrap-token-zzzzzz" }, false},
		"no secret":    {func(s *corev1.Secret) { delete(s.Data, "token-secret") }, false},
		"not to sign":  {func(s *corev1.Secret) { s.Data["usage-bootstrap-signing"] = []byte("false") }, false},
		"expired":      {func(s *corev1.Secret) { s.Data["expiration"] = []byte("2026-01-02T03:04:04Z") }, false},
		"expires soon": {func(s *corev1.Secret) { s.Data["expiration"] = []byte("2026-01-02T03:04:06Z") }, true},
	} {
		s := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef", Namespace: "kube-system"}, Type: "bootstrap.kubernetes.io/token",
			Data: map[string][]byte{"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true")},
		}
		tt.change(s)
		if _, _, ok := Token(s, now); ok != tt.want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

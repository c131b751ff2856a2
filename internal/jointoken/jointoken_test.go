package jointoken

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	pin := strings.Repeat("0a", 32)
	good := "skiff1" + pin + "::abc123.0123456789abcdef"
	token, err := Parse(good)
	if err != nil || token.ID != "abc123" || token.Secret != "0123456789abcdef" || token.Pin.String() != pin {
		t.Errorf("%+v, %v", token, err)
	}
	if token.String() != good || token.Bearer() != "abc123.0123456789abcdef" {
		t.Errorf("%s, %s", token, token.Bearer())
	}
	for _, bad := range []string{
		"", "abc123.0123456789abcdef", strings.ToUpper(good), good + "\n", " " + good, good[:len(good)-1],
		strings.Replace(good, "::", ":", 1), strings.Replace(good, "skiff1", "skiff2", 1), strings.Replace(good, "0a", "0", 1),
	} {
		if _, err := Parse(bad); !errors.Is(err, ErrForm) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

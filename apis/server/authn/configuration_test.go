package authn

import (
	"testing"

	"skiff/config"
)

func TestIssuerOfFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, prefix, want string }{
		{"sub", "", "https://issuer.test#"}, {"email", "", ""}, {"sub", "-", ""}, {"sub", "oidc:", "oidc:"},
	} {
		a := config.DefaultAuthentication()
		a.OIDC.IssuerURL, a.OIDC.ClientID, a.OIDC.UsernameClaim, a.OIDC.UsernamePrefix = "https://issuer.test", "skiff", c.claim, c.prefix
		a.OIDC.GroupsClaim, a.OIDC.GroupsPrefix, a.OIDC.RequiredClaims = "teams", "team:", []string{"tenant=a=b,c"}
		got, _, err := Configuration(a)
		if err != nil || len(got.JWT) != 1 {
			t.Fatalf("%+v: %v, %v", c, got, err)
		}
		jwt := got.JWT[0]
		if m := jwt.ClaimMappings; m.Username.Claim != c.claim || *m.Username.Prefix != c.want || m.Groups.Claim != "teams" || *m.Groups.Prefix != "team:" {
			t.Errorf("%+v: %+v", c, m)
		}
		if r := jwt.ClaimValidationRules; len(r) != 1 || r[0].Claim != "tenant" || r[0].RequiredValue != "a=b,c" || jwt.Issuer.Audiences[0] != "skiff" {
			t.Errorf("%+v: %+v", c, jwt)
		}
	}
}

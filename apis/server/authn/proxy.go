package authn

import (
	"fmt"
	"slices"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"skiff/config"
)

// proxies believes what proxies say of users: the aggregator of another server
// of the cluster, and the operator's proxy.
func (a *Authn) proxies(c Config) ([]authenticator.Request, error) {
	var err error
	var chain []authenticator.Request
	if c.AggregatorCAFile != "" {
		a.RequestHeader, err = headersOf(config.FrontProxy{
			CAFile: c.AggregatorCAFile, Names: []string{c.AggregatorName},
			UsernameHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"},
			GroupHeaders: []string{"X-Remote-Group"}, ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
		})
		if err != nil {
			return nil, err
		}
		chain = append(chain, a.trust(a.RequestHeader))
	}
	if c.FrontProxy.CAFile != "" {
		own, err := headersOf(c.FrontProxy)
		if err != nil {
			return nil, err
		}
		chain = append(chain, a.trust(own))
	}
	return chain, nil
}

func headersOf(p config.FrontProxy) (*authenticatorfactory.RequestHeaderConfig, error) {
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("request-header", p.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the front proxy authority: %w", err)
	}
	return &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     headerrequest.StaticStringSlice(p.UsernameHeaders),
		UIDHeaders:          headerrequest.StaticStringSlice(p.UIDHeaders),
		GroupHeaders:        headerrequest.StaticStringSlice(p.GroupHeaders),
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice(p.ExtraHeaderPrefixes),
		AllowedClientNames:  headerrequest.StaticStringSlice(p.Names),
		CAContentProvider:   ca,
	}, nil
}

// trust lets the proxy connect, and takes its headers away from everybody else.
func (a *Authn) trust(r *authenticatorfactory.RequestHeaderConfig) authenticator.Request {
	a.ClientCA = dynamiccertificates.NewUnionCAContentProvider(a.ClientCA, r.CAContentProvider)
	if a.Headers == nil {
		a.Headers = &authenticatorfactory.RequestHeaderConfig{
			UsernameHeaders: headerrequest.StaticStringSlice{}, UIDHeaders: headerrequest.StaticStringSlice{},
			GroupHeaders: headerrequest.StaticStringSlice{}, ExtraHeaderPrefixes: headerrequest.StaticStringSlice{},
		}
	}
	for all, more := range map[*headerrequest.StringSliceProvider]headerrequest.StringSliceProvider{
		&a.Headers.UsernameHeaders: r.UsernameHeaders, &a.Headers.UIDHeaders: r.UIDHeaders,
		&a.Headers.GroupHeaders: r.GroupHeaders, &a.Headers.ExtraHeaderPrefixes: r.ExtraHeaderPrefixes,
	} {
		*all = headerrequest.StaticStringSlice(slices.Concat((*all).Value(), more.Value()))
	}
	return authenticator.WrapAudienceAgnosticRequest(a.Issuer.Audiences(), headerrequest.NewDynamicVerifyOptionsSecure(
		r.CAContentProvider.VerifyOptions, r.AllowedClientNames, r.UsernameHeaders, r.UIDHeaders, r.GroupHeaders, r.ExtraHeaderPrefixes))
}

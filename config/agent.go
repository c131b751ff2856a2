package config

import (
	"fmt"
	"net/url"

	"skiff/internal/jointoken"
)

// DefaultAgentFile is the configuration file of an agent.
const DefaultAgentFile = "/etc/skiff/agent.yaml"

// Agent is what an agent is told besides what a node is.
type Agent struct {
	Server string // URL of the API server to join
	Token  string // by which it joins; not needed once it has
}

// Validate reports the first value that can't be used, as an *Error.
func (a *Agent) Validate() error {
	if a.Server == "" {
		return &Error{"server", "an agent needs the server to join", "give its URL, such as https://192.0.2.10:6443"}
	}
	if u, err := url.Parse(a.Server); err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return &Error{"server", fmt.Sprintf("%q is not the URL of a server", a.Server), "give one such as https://192.0.2.10:6443"}
	}
	if a.Token == "" {
		return nil
	}
	if _, err := jointoken.Parse(a.Token); err != nil {
		return &Error{"token", "it is not one", "give it whole, as `skiff token create` printed it: skiff1HASH::ID.SECRET"}
	}
	return nil
}

// URL answers Server. The configuration must be valid.
func (a *Agent) URL() *url.URL {
	u, err := url.Parse(a.Server)
	if err != nil {
		return &url.URL{}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}
}

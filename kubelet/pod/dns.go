package pod

import (
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// Limits of what resolv.conf may hold, as libraries have them.
const (
	maxServers  = 3
	maxSearches = 32
)

// ReadResolver reads a resolv.conf. A missing file is an empty one.
func ReadResolver(path string) (Resolver, error) {
	content, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return Resolver{}, nil
	}
	if err != nil {
		return Resolver{}, err
	}
	return ParseResolver(string(content)), nil
}

// ParseResolver parses the text of a resolv.conf.
func ParseResolver(text string) Resolver {
	var out Resolver
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			out.Servers = append(out.Servers, fields[1])
		case "search", "domain":
			out.Searches = nil
			for _, search := range fields[1:] {
				if search != "." {
					search = strings.TrimSuffix(search, ".")
				}
				out.Searches = append(out.Searches, search)
			}
		case "options":
			out.Options = append(out.Options, fields[1:]...)
		}
	}
	return out
}

// dns is the pod's resolv.conf by its policy. ClusterFirst on the host's network is Default.
func (h Host) dns(pod *corev1.Pod) *cri.DNSConfig {
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSClusterFirstWithHostNet {
		policy = corev1.DNSClusterFirst
	}
	out := &cri.DNSConfig{}
	switch {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSClusterFirst && len(h.ClusterDNS) > 0:
		out.Servers = h.ClusterDNS
		out.Searches = append([]string{pod.Namespace + ".svc." + h.ClusterDomain, "svc." + h.ClusterDomain, h.ClusterDomain}, h.Resolver.Searches...)
		out.Options = []string{"ndots:5"}
	default:
		out.Servers, out.Searches, out.Options = h.Resolver.Servers, h.Resolver.Searches, h.Resolver.Options
	}
	if extra := pod.Spec.DNSConfig; extra != nil {
		out.Servers = distinct(append(append([]string(nil), out.Servers...), extra.Nameservers...))
		out.Searches = distinct(append(append([]string(nil), out.Searches...), extra.Searches...))
		out.Options = mergeOptions(out.Options, extra.Options)
	}
	out.Servers = distinct(out.Servers)
	out.Searches = distinct(out.Searches)
	out.Servers = out.Servers[:min(len(out.Servers), maxServers)]
	out.Searches = out.Searches[:min(len(out.Searches), maxSearches)]
	return out
}

// mergeOptions lets the pod's options replace those of the same name.
func mergeOptions(have []string, extra []corev1.PodDNSConfigOption) []string {
	var order []string
	values := map[string]string{}
	set := func(name, value string) {
		if _, known := values[name]; !known {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, option := range have {
		name, value, _ := strings.Cut(option, ":")
		set(name, value)
	}
	for _, option := range extra {
		if option.Value != nil {
			set(option.Name, *option.Value)
		} else {
			set(option.Name, "")
		}
	}
	out := make([]string, 0, len(order))
	for _, name := range order {
		if values[name] == "" {
			out = append(out, name)
		} else {
			out = append(out, name+":"+values[name])
		}
	}
	return out
}

func distinct(in []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// hostsFile is the content of /etc/hosts of a pod. On the host's network it is the host's file with the pod's aliases.
func hostsFile(pod *corev1.Pod, ips []string, clusterDomain string, host []byte) []byte {
	var out strings.Builder
	if pod.Spec.HostNetwork {
		out.WriteString("# Kubernetes-managed hosts file (host network).\n")
		out.Write(host)
	} else {
		out.WriteString("# Kubernetes-managed hosts file.\n")
		out.WriteString("127.0.0.1\tlocalhost\n")
		out.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n")
		out.WriteString("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		name, domain := Hostname(pod, clusterDomain)
		for _, ip := range ips {
			if domain != "" {
				out.WriteString(ip + "\t" + name + "." + domain + "\t" + name + "\n")
			} else {
				out.WriteString(ip + "\t" + name + "\n")
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		out.WriteString("\n# Entries added by HostAliases.\n")
		for _, alias := range pod.Spec.HostAliases {
			out.WriteString(alias.IP + "\t" + strings.Join(alias.Hostnames, "\t") + "\n")
		}
	}
	return []byte(out.String())
}

// writeHosts writes the pod's /etc/hosts and answers its path.
func (h Host) writeHosts(pod *corev1.Pod, ips []string) (string, error) {
	var host []byte
	if pod.Spec.HostNetwork {
		content, err := os.ReadFile("/etc/hosts")
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		host = content
	}
	path := filepath.Join(h.Dir(pod), "etc-hosts")
	return path, os.WriteFile(path, hostsFile(pod, ips, h.ClusterDomain, host), 0o644)
}

package env

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// The service that leads to the API, announced in every namespace.
const (
	apiService   = "kubernetes"
	apiNamespace = "default"
)

// serviceVariables announces the API's service and, unless the pod declines, the services of its namespace.
func (b *Builder) serviceVariables(pod *corev1.Pod) (map[string]string, error) {
	variables := map[string]string{}
	if api, err := b.services.Services(apiNamespace).Get(apiService); err == nil {
		announce(variables, api)
	}
	if !ptr.Deref(pod.Spec.EnableServiceLinks, true) {
		return variables, nil
	}
	found, err := b.services.Services(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("failed to list services when setting up env vars: %w", err)
	}
	for _, service := range found {
		announce(variables, service)
	}
	return variables, nil
}

// announce adds the variables of a service that has an address: where it is, and what Docker's links told.
func announce(variables map[string]string, service *corev1.Service) {
	address := service.Spec.ClusterIP
	if address == "" || address == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
		return
	}
	name := variableName(service.Name)
	variables[name+"_SERVICE_HOST"] = address
	variables[name+"_SERVICE_PORT"] = strconv.Itoa(int(service.Spec.Ports[0].Port))
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if port.Name != "" {
			variables[name+"_SERVICE_PORT_"+variableName(port.Name)] = strconv.Itoa(int(port.Port))
		}
		link(variables, name, address, port, i == 0)
	}
}

func link(variables map[string]string, name, address string, port *corev1.ServicePort, first bool) {
	protocol := string(corev1.ProtocolTCP)
	if port.Protocol != "" {
		protocol = string(port.Protocol)
	}
	number := strconv.Itoa(int(port.Port))
	url := fmt.Sprintf("%s://%s", strings.ToLower(protocol), net.JoinHostPort(address, number))
	if first {
		variables[name+"_PORT"] = url
	}
	prefix := fmt.Sprintf("%s_PORT_%s_%s", name, number, strings.ToUpper(protocol))
	variables[prefix] = url
	variables[prefix+"_PROTO"] = strings.ToLower(protocol)
	variables[prefix+"_PORT"] = number
	variables[prefix+"_ADDR"] = address
}

func variableName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

package proxy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testNode is the node that tests plan for.
const testNode = "node-a"

func ptr[T any](v T) *T { return &v }

// service is a Service of ports "name:port" of the protocol at the address.
func service(name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			SessionAffinity: corev1.ServiceAffinityNone, Ports: ports,
		},
	}
}

func tcp(port int32) corev1.ServicePort {
	return corev1.ServicePort{Name: "tcp", Port: port, Protocol: corev1.ProtocolTCP}
}

func udp(port int32) corev1.ServicePort {
	return corev1.ServicePort{Name: "udp", Port: port, Protocol: corev1.ProtocolUDP}
}

func nodePort(p corev1.ServicePort, port int32) corev1.ServicePort {
	p.NodePort = port
	return p
}

// slice is the Service's endpoints on port of both protocols. An endpoint is written "ADDRESS [NODE] [FLAG...]": flags
// are unready, and terminating (serving, but not ready).
func slice(service string, port int32, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr("tcp"), Port: ptr(port), Protocol: ptr(corev1.ProtocolTCP)},
			{Name: ptr("udp"), Port: ptr(port), Protocol: ptr(corev1.ProtocolUDP)},
		},
	}
	for _, text := range endpoints {
		words := strings.Fields(text)
		e := discoveryv1.Endpoint{
			Addresses:  words[:1],
			NodeName:   ptr(testNode),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)},
		}
		for _, w := range words[1:] {
			switch w {
			case "unready":
				e.Conditions.Ready, e.Conditions.Serving = ptr(false), ptr(false)
			case "terminating":
				e.Conditions.Ready, e.Conditions.Terminating = ptr(false), ptr(true)
			default:
				e.NodeName = ptr(w)
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

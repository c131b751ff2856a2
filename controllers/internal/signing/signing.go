// Package signing reads the requests of CertificateSigningRequests.
package signing

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Parse reads the PEM of spec.request.
func Parse(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing the request: %w", err)
	}
	return request, nil
}

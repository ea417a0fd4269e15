package services

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// RedisWithTLS is [Redis] on one that speaks TLS only. authority is a file with the certificate of whoever has
// signed the server's.
func RedisWithTLS(t Host) (url, authority string) {
	t.Helper()
	need(t, "redis-server")
	sharedTLSOnce.Do(func() { sharedTLS = startTLSRedis(t, sharedFolder(t)) })
	return emptyDatabase(t, sharedTLS.server.URL), sharedTLS.authority
}

// tlsServer is a Redis with a certificate for 127.0.0.1, and for nothing else.
type tlsServer struct {
	server    *RedisServer
	authority string // a file
	trusted   *x509.CertPool
}

func startTLSRedis(t Host, folder string) tlsServer {
	t.Helper()
	made := tlsServer{authority: filepath.Join(folder, "authority.pem"), trusted: x509.NewCertPool()}
	certificate, key := filepath.Join(folder, "server.pem"), filepath.Join(folder, "server.key")
	made.sign(t, certificate, key)
	s := newRedis(t, folder)
	s.more = []string{
		"--port", "0", "--tls-port", portOf(s), "--tls-auth-clients", "no",
		"--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", made.authority,
	}
	s.URL = "rediss://" + s.Addr() + "/0"
	s.dial = func() (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", s.Addr(), &tls.Config{RootCAs: made.trusted})
	}
	s.Restart(t)
	made.server = s
	return made
}

func portOf(s *RedisServer) string {
	_, port, _ := net.SplitHostPort(s.Addr())
	return port
}

// sign makes an authority for a day, and lets it sign a certificate.
func (s *tlsServer) sign(t Host, certificate, key string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a server of tests"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signer, own := newKey(t), newKey(t)
	writePEM(t, s.authority, "CERTIFICATE", signed(t, authority, authority, signer, signer))
	writePEM(t, certificate, "CERTIFICATE", signed(t, server, authority, own, signer))
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatalf("%v", err)
	}
	writePEM(t, key, "PRIVATE KEY", der)
	text, err := os.ReadFile(s.authority)
	if err != nil || !s.trusted.AppendCertsFromPEM(text) {
		t.Fatalf("read the authority: %v", err)
	}
}

func newKey(t Host) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return key
}

func signed(t Host, of, by *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, of, by, &key.PublicKey, signer)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return der
}

func writePEM(t Host, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
}

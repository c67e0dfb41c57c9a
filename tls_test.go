package belay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
)

// certificate makes one that signs itself.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(
			1,
		), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, leaf
}

// A client certificate is the transport's; one that the partner does not take is ErrAuth, and not tried again.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	cert, leaf := certificate(t, "integration")
	other, _ := certificate(t, "another")
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	client := func(certificates ...tls.Certificate) *belay.Client {
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, Certificates: certificates}
		c, err := belay.New(
			server.URL,
			belay.WithTransport(transport),
			belay.WithAuth(belay.Bearer(belay.NewSecret("and a token"))),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Millisecond}),
		)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var info belay.Info
	require.NoError(t, get(t.Context(), client(cert), "/", belay.Into(&info)))
	require.Equal(t, "integration", info.Header.Get("X-Seen"))
	for _, refused := range []*belay.Client{client(), client(other)} {
		err := get(t.Context(), refused, "/")
		require.ErrorIs(t, err, belay.ErrAuth)
		require.ErrorContains(t, err, "client certificate")
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 1, e.Attempts)
	}
}

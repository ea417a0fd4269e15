package blob

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// The bounds of connections to a bucket.
const (
	dialPatience = 5 * time.Second
	idleConns    = 64
	idlePatience = 60 * time.Second

	// sendBuffer bounds what the kernel takes and has not sent: while that is on its way nothing seems to move.
	sendBuffer = 1 << 20
)

// newTransport gives up on a connection over which no byte has moved for patience. A time for the whole request
// would cut off what is large and slow.
func newTransport(patience time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: min(dialPatience, patience)}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetWriteBuffer(sendBuffer) // else it is as large as the kernel likes
			}
			return &movingConn{Conn: conn, patience: patience}, nil
		},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: min(dialPatience, patience),
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     idlePatience,
		DisableCompression:  true, // a sum is of the bytes as they are
	}
}

// movingConn fails when nothing has been read or written for patience while somebody waits for it.
type movingConn struct {
	net.Conn
	patience time.Duration
}

// Read implements net.Conn.
func (c *movingConn) Read(into []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(into)
}

// Write implements net.Conn. It also gives a Read that waits more time: what is being sent is not yet answered.
func (c *movingConn) Write(content []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(content)
}

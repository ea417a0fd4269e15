package transport

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// errCloseFrame ends reading: the client has sent a close frame.
var errCloseFrame = errors.New("close frame received")

const (
	readerBytes = 4096 // of the buffer that a socket reads by while messages come
	idleBytes   = 64   // of what it reads by while it waits: enough for a ping, or the client's complete
)

// readers lends the read buffers. An idle socket has none.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readerBytes) }}

// frameReader reads whole text messages off a client's frames (RFC 6455 §5).
type frameReader struct {
	conn       net.Conn
	controls   controls
	early      []byte        // has come before it was asked for
	from       *bufio.Reader // nil between pause and begin
	most       int           // bytes of a message
	header     [ws.MaxHeaderSize]byte
	idle       [idleBytes]byte
	fragmented bool
}

// controls is who sees pings, pongs and the close frame.
type controls interface {
	control(header ws.Header, payload []byte)
}

// wait returns when the client has sent something, or with the connection's error.
func (f *frameReader) wait() error {
	for len(f.early) == 0 {
		n, err := f.conn.Read(f.idle[:])
		if f.early = f.idle[:n]; n == 0 && err != nil {
			return err
		}
	}
	return nil
}

// begin takes a buffer to read by, and pause gives it back: between them, messages may be read.
func (f *frameReader) begin() {
	f.from = readers.Get().(*bufio.Reader)
	f.from.Reset(arrivals{f})
}

func (f *frameReader) pause() {
	f.from.Reset(nil)
	readers.Put(f.from)
	f.from = nil
}

// silent reports whether all that has come was read.
func (f *frameReader) silent() bool { return len(f.early) == 0 && f.from.Buffered() == 0 }

// arrivals reads what has come early, then the connection.
type arrivals struct{ f *frameReader }

func (a arrivals) Read(p []byte) (int, error) {
	if len(a.f.early) == 0 {
		return a.f.conn.Read(p)
	}
	n := copy(p, a.f.early)
	if a.f.early = a.f.early[n:]; len(a.f.early) == 0 {
		a.f.early = nil
	}
	return n, nil
}

// await reads the header of the next frame: of a message, whose rest next reads, or, when data is false,
// of a control frame, which it has handled. A *closing error says how the client has broken the protocol.
func (f *frameReader) await() (header ws.Header, data bool, err error) {
	f.fragmented = false
	return f.step(0)
}

// next appends to buffer the message whose first frame await has found, control frames between its
// fragments handled. Its errors are those of await.
func (f *frameReader) next(buffer []byte, first ws.Header) ([]byte, error) {
	for header := first; ; {
		var err error
		if buffer, err = f.readPayload(buffer, header); err != nil {
			return buffer, err
		}
		if header.Fin {
			if !utf8.Valid(buffer) {
				return buffer, ending(closeInvalidText, "messages must be UTF-8")
			}
			return buffer, nil
		}
		f.fragmented = true
		if header, err = f.dataHeader(len(buffer)); err != nil {
			return buffer, err
		}
	}
}

// dataHeader reads the header of the next frame of data; have is how much of its message is read.
func (f *frameReader) dataHeader(have int) (ws.Header, error) {
	for {
		if header, data, err := f.step(have); data || err != nil {
			return header, err
		}
	}
}

// step reads a header of data, or a control frame.
func (f *frameReader) step(have int) (header ws.Header, data bool, err error) {
	if header, err = ws.ReadHeaderBuffer(f.from, f.header[:0]); err != nil {
		return header, false, err
	}
	if err = f.check(header, have); err != nil {
		return header, false, err
	}
	if header.OpCode.IsControl() {
		return header, false, f.readControl(header)
	}
	return header, true, nil
}

func (f *frameReader) check(header ws.Header, have int) error {
	state := ws.StateServerSide
	if f.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	switch err := ws.CheckHeader(header, state); {
	case err != nil:
		return ending(closeProtocolError, err.Error())
	case header.OpCode == ws.OpBinary:
		return ending(closeUnsupported, "messages must be text")
	case header.OpCode.IsData() && header.Length > int64(f.most-have):
		return ending(closeTooLarge, "message too large")
	}
	return nil
}

func (f *frameReader) readPayload(buffer []byte, header ws.Header) ([]byte, error) {
	start := len(buffer)
	for need := int(header.Length); need > 0; {
		if len(buffer) == cap(buffer) { // grow as bytes come, not as the header promises
			buffer = append(buffer, 0)[:len(buffer)]
		}
		room := min(need, cap(buffer)-len(buffer))
		n, err := io.ReadFull(f.from, buffer[len(buffer):len(buffer)+room])
		buffer, need = buffer[:len(buffer)+n], need-n
		if err != nil {
			return buffer, err
		}
	}
	ws.Cipher(buffer[start:], header.Mask, 0)
	return buffer, nil
}

func (f *frameReader) readControl(header ws.Header) error {
	var payload [ws.MaxControlFramePayloadSize]byte
	text, err := f.readPayload(payload[:0:len(payload)], header)
	if err != nil {
		return err
	}
	f.controls.control(header, text)
	if header.OpCode == ws.OpClose {
		return errCloseFrame
	}
	return nil
}

func (c *closing) Error() string { return c.reason }

// frameRoom is left free before a payload, for the header of its frame.
const frameRoom = 10

// frame puts the header of an unmasked, final frame before the payload that follows frameRoom bytes of
// buffer, and returns the frame, which shares buffer's memory.
func frame(code ws.OpCode, buffer []byte) []byte {
	length := len(buffer) - frameRoom
	switch {
	case length < 126:
		buffer[8], buffer[9] = 0x80|byte(code), byte(length)
		return buffer[8:]
	case length <= 0xffff:
		buffer[6], buffer[7] = 0x80|byte(code), 126
		buffer[8], buffer[9] = byte(length>>8), byte(length)
		return buffer[6:]
	default:
		buffer[0], buffer[1] = 0x80|byte(code), 127
		for i := range 8 {
			buffer[2+i] = byte(uint64(length) >> (56 - 8*i))
		}
		return buffer
	}
}

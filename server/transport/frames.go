package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// errCloseFrame ends reading: the client has sent a close frame.
var errCloseFrame = errors.New("close frame received")

// readerBytes is the read buffer of a socket. Small, as there may be many; messages are read past it.
const readerBytes = 512

// frameReader reads whole text messages off a client's frames (RFC 6455 §5).
type frameReader struct {
	from       *bufio.Reader
	most       int                     // bytes of a message
	control    func(ws.Header, []byte) // sees pings, pongs and the close frame
	header     [ws.MaxHeaderSize]byte
	first      ws.Header // of the message to read
	fragmented bool
}

func newFrameReader(conn net.Conn, buffered []byte, most int, control func(ws.Header, []byte)) *frameReader {
	var from io.Reader = conn
	if len(buffered) > 0 { // sent before our handshake was read
		from = io.MultiReader(bytes.NewReader(buffered), conn)
	}
	return &frameReader{from: bufio.NewReaderSize(from, readerBytes), most: most, control: control}
}

// await waits for the first frame of a message, control frames before it handled. No buffer is held
// meanwhile: most sockets are silent most of the time. A *closing error says how the client has broken
// the protocol.
func (f *frameReader) await() (err error) {
	f.fragmented = false
	f.first, err = f.dataHeader(0)
	return err
}

// next appends the message that await has found to buffer, control frames between its fragments
// handled. Its errors are those of await.
func (f *frameReader) next(buffer []byte) ([]byte, error) {
	for header := f.first; ; {
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
		header, err := ws.ReadHeaderBuffer(f.from, f.header[:0])
		if err != nil {
			return header, err
		}
		if err := f.check(header, have); err != nil {
			return header, err
		}
		if !header.OpCode.IsControl() {
			return header, nil
		}
		if err := f.readControl(header); err != nil {
			return header, err
		}
	}
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
	f.control(header, text)
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

package imaging

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The flags of an extended WebP (RFC 9649 §2.7.1).
const (
	webpAnimated = 1 << 1
	webpAlpha    = 1 << 4
)

// The trees of a lossless WebP: how much they take at the most, and how much for a byte of the file.
const (
	maxTreeBytes  = 150 << 20
	treeBytesEach = 320
)

// inspectWebP walks over all chunks of a file of size bytes (RFC 9649 §2.3): EXIF comes after the image.
func inspectWebP(r *bufio.Reader, size int64) (Header, error) {
	var start [12]byte
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return Header{}, err
	}
	left := int64(binary.LittleEndian.Uint32(start[4:])) - 4 // as declared; the decoder makes room for as much, so the walk goes to its end
	w := webpWalk{header: Header{Format: WebP, Orientation: Upright}, size: size}
	for left >= 8 {
		var chunk [8]byte // type and length
		if _, err := io.ReadFull(r, chunk[:]); err != nil {
			return Header{}, err
		}
		length := int64(binary.LittleEndian.Uint32(chunk[4:]))
		if left -= 8; length > left {
			return Header{}, fmt.Errorf("%w: a chunk of %d bytes", ErrDamaged, length)
		}
		padding := min(length&1, left-length)
		content := make([]byte, min(length, w.wanted(string(chunk[:4]))))
		if _, err := io.ReadFull(r, content); err != nil {
			return Header{}, err
		}
		if err := w.chunk(string(chunk[:4]), content); err != nil {
			return Header{}, err
		}
		if _, err := r.Discard(int(length+padding) - len(content)); err != nil {
			return Header{}, err
		}
		left -= length + padding
	}
	if !w.frame {
		return Header{}, fmt.Errorf("%w: no image", ErrDamaged)
	}
	return w.header, nil
}

// webpWalk is what the chunks of a WebP have told so far.
type webpWalk struct {
	header          Header
	size            int64 // of the file
	extended, alpha bool
	frame           bool // seen
}

// wanted is how many bytes of a chunk are looked at.
func (w *webpWalk) wanted(name string) int64 {
	switch name {
	case "VP8X", "VP8 ":
		return 10
	case "VP8L":
		return 5
	case "EXIF":
		return maxExifBytes
	}
	return 0
}

func (w *webpWalk) chunk(name string, content []byte) error {
	if int64(len(content)) < w.wanted(name) && name != "EXIF" {
		return fmt.Errorf("%w: its chunk %s", ErrDamaged, name)
	}
	switch {
	case name == "EXIF":
		w.header.Orientation = orientationOf(bytes.TrimPrefix(content, exifPrefix))
	case name == "VP8X" && !w.extended && !w.frame:
		if content[0]&webpAnimated != 0 {
			return ErrAnimated
		}
		w.extended, w.alpha = true, content[0]&webpAlpha != 0
		w.header.Width, w.header.Height = 1+int24(content[4:]), 1+int24(content[7:])
		return w.header.bounded()
	case name == "VP8 " && !w.frame: // RFC 6386 §9.1; two bits of each side are for scaling
		return w.lossy(int(binary.LittleEndian.Uint16(content[6:]))&0x3fff, int(binary.LittleEndian.Uint16(content[8:]))&0x3fff)
	case name == "VP8L" && !w.frame: // RFC 9649 §3.4: 14 bits each, less one
		bits := binary.LittleEndian.Uint32(content[1:])
		return w.lossless(1+int(bits&0x3fff), 1+int(bits>>14&0x3fff))
	}
	return nil
}

// lossy takes the frame's size: a byte and a half for each pixel, the file, and for transparency a
// byte and a lossless image.
func (w *webpWalk) lossy(width, height int) error {
	if err := w.framed(width, height); err != nil {
		return err
	}
	pixels := padded(width, 16) * padded(height, 16)
	if w.header.memory = 2*pixels + w.size; w.alpha {
		w.header.memory += 9*pixels + w.trees()
	}
	return nil
}

// lossless takes the frame's size: four bytes for each pixel, twice while colours are looked up.
func (w *webpWalk) lossless(width, height int) error {
	if err := w.framed(width, height); err != nil {
		return err
	}
	w.header.memory = 8*int64(width)*int64(height) + w.trees()
	return nil
}

func (w *webpWalk) trees() int64 { return min(maxTreeBytes, treeBytesEach*w.size) }

// framed takes the size of the frame, which is that of the canvas where there is one.
func (w *webpWalk) framed(width, height int) error {
	if w.extended && (width != w.header.Width || height != w.header.Height) {
		return fmt.Errorf("%w: a frame of another size than the canvas", ErrDamaged)
	}
	w.frame, w.header.Width, w.header.Height = true, width, height
	return w.header.bounded()
}

// int24 reads three bytes, the least first.
func int24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

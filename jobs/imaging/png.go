package imaging

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const pngMagic = "\x89PNG\r\n\x1a\n"

// maxExifBytes is how much of a chunk of EXIF is read. The orientation stands in the first directory,
// which no writer puts further away.
const maxExifBytes = 64 << 10

// inspectPNG walks over all chunks up to the last (W3C PNG, 3rd edition, §5): EXIF may come after the
// image.
func inspectPNG(r *bufio.Reader) (Header, error) {
	h := Header{Format: PNG, Orientation: Upright}
	if _, err := r.Discard(len(pngMagic)); err != nil {
		return h, err
	}
	for number := 0; ; number++ {
		var start [8]byte // length and type
		if _, err := io.ReadFull(r, start[:]); err != nil {
			return h, err
		}
		length, name := binary.BigEndian.Uint32(start[:]), string(start[4:])
		if length > math.MaxInt32-4 {
			return h, fmt.Errorf("%w: a chunk of %d bytes", ErrDamaged, length)
		}
		left := int(length) + 4 // the check sum
		switch {
		case number == 0:
			if name != "IHDR" || length != 13 {
				return h, fmt.Errorf("%w: no header", ErrDamaged)
			}
			if err := h.readIHDR(r); err != nil {
				return h, err
			}
			left = 4
		case name == "eXIf" && h.Orientation == Upright:
			tiff := make([]byte, min(int(length), maxExifBytes))
			if _, err := io.ReadFull(r, tiff); err != nil {
				return h, err
			}
			h.Orientation = orientationOf(tiff)
			left -= len(tiff)
		case name == "IEND":
			return h, nil
		}
		if _, err := r.Discard(left); err != nil {
			return h, err
		}
	}
}

// readIHDR reads the header (§11.2.1).
func (h *Header) readIHDR(r io.Reader) error {
	var header [13]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	width, height := binary.BigEndian.Uint32(header[:]), binary.BigEndian.Uint32(header[4:])
	if width > math.MaxInt32 || height > math.MaxInt32 {
		return fmt.Errorf("%w: its size", ErrDamaged)
	}
	h.Width, h.Height = int(width), int(height)
	const palette, interlaced = 3, 1
	each := int64(4) // a pixel
	switch depth, colour := header[8], header[9]; {
	case depth == 16:
		each = 8
	case colour == palette:
		each = 1
	}
	if header[12] == interlaced { // seven images that are merged into one
		each *= 2
	}
	h.memory = each * int64(h.Width) * int64(h.Height)
	return h.bounded()
}

package imaging

import (
	"bufio"
	"encoding/binary"
	"image"
	"image/draw"
	"image/gif"
	"io"
)

// inspectGIF reads the screen's size (GIF89a §18). No frame may be larger.
func inspectGIF(r *bufio.Reader) (Header, error) {
	var start [13]byte
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return Header{}, err
	}
	h := Header{
		Format: GIF, Orientation: Upright,
		Width: int(binary.LittleEndian.Uint16(start[6:])), Height: int(binary.LittleEndian.Uint16(start[8:])),
	}
	h.memory = 5 * int64(h.Width) * int64(h.Height) // a byte for the frame, four for the screen
	return h, nil
}

// decodeGIF returns the screen with the first frame on it, the rest of which is transparent.
func decodeGIF(r io.Reader, h Header) (image.Image, error) {
	frame, err := gif.Decode(r)
	if err != nil {
		return nil, err
	}
	screen := image.NewRGBA(image.Rect(0, 0, h.Width, h.Height))
	draw.Draw(screen, frame.Bounds(), frame, frame.Bounds().Min, draw.Src)
	return screen, nil
}

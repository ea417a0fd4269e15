// Package imaging reads the images that people upload and makes smaller copies of them, upright and
// without whatever else the file carried.
//
// # How it is used
//
// [Inspect] reads the header: what the file is by its content, its size and its orientation. It
// refuses what is too large before a single pixel is decoded. [NewPlan] works out what shall be made
// of it and what that costs in memory; [Plan.Decode] decodes once, [Picture.Render] makes one variant.
//
// # What is read
//
// JPEG (baseline and progressive), PNG, GIF and WebP. Of an animated GIF or PNG the first frame is
// read; an animated WebP is refused. Sixteen bits a channel become eight. Colours are taken as sRGB:
// a colour profile is neither applied nor kept, CMYK is converted without one.
//
// # What is written
//
// JPEG and PNG with pixels and nothing else: no EXIF, no XMP, no profile, no comment, no thumbnail,
// and nothing of what stood behind the image in the file.
//
// # Bounds
//
// An image has at most 50 megapixels, 16384 pixels a side and 128 MiB; see [Plan.Memory] for what it
// takes to work on it. The size that a file declares is checked against what its decoder will
// believe, and the work that it can ask of the decoder is bounded too ([ErrTooManyScans]).
package imaging

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The bounds of an image that is read, and of each that is written.
const (
	MaxBytes  = 128 << 20
	MaxPixels = 50_000_000
	MaxSide   = 16384 // pixels
)

var (
	// ErrUnsupported says that the file is none of the formats that are read.
	ErrUnsupported = errors.New("no JPEG, PNG, GIF or WebP image")
	// ErrAnimated says that the file is an animated WebP.
	ErrAnimated = errors.New("an animated WebP image")
	// ErrDamaged says that the file is cut off or is not what its format asks for.
	ErrDamaged = errors.New("a damaged image")
	// ErrTooLarge says that the image is larger than what is read.
	ErrTooLarge = errors.New("an image of too many pixels or bytes")
	// ErrTooManyScans says that a JPEG is drawn in more than 100 passes, each of which costs as much
	// as the whole image and hardly a byte of the file.
	ErrTooManyScans = errors.New("a JPEG of too many scans")
)

// Format is what a file is by its content.
type Format string

// The formats. JPEG and PNG are written too.
const (
	JPEG Format = "JPEG"
	PNG  Format = "PNG"
	GIF  Format = "GIF"
	WebP Format = "WEBP"
)

// Header is what a file says of its image before it is decoded.
type Header struct {
	Format        Format
	Width, Height int         // in pixels, as stored; see Size
	Orientation   Orientation // how the stored image is to be turned
	memory        int64       // bytes that its decoder holds at the most
}

// Size returns the width and height of the image as it is shown: turned upright.
func (h Header) Size() (width, height int) { return h.Orientation.turn(h.Width, h.Height) }

// Inspect reads the header of the image in r, a file of size bytes, to the end of the file where its
// metadata may stand there. What is wrong with the file is one of the errors of this package, wrapped;
// any other error is one of r.
func Inspect(r io.Reader, size int64) (Header, error) {
	if size > MaxBytes {
		return Header{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	}
	from := &source{reader: r}
	h, err := inspect(bufio.NewReaderSize(from, 64<<10), size)
	if err == nil {
		err = h.bounded()
	}
	return h, from.blame(err)
}

func inspect(r *bufio.Reader, size int64) (Header, error) {
	magic, err := r.Peek(12)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte("\xff\xd8\xff")):
		return inspectJPEG(r)
	case bytes.HasPrefix(magic, []byte(pngMagic)):
		return inspectPNG(r)
	case bytes.HasPrefix(magic, []byte("GIF87a")), bytes.HasPrefix(magic, []byte("GIF89a")):
		return inspectGIF(r)
	case len(magic) == 12 && string(magic[:4]) == "RIFF" && string(magic[8:]) == "WEBP":
		return inspectWebP(r, size)
	}
	return Header{}, ErrUnsupported
}

// bounded returns an error for an image that is not decoded.
func (h Header) bounded() error {
	switch {
	case h.Width <= 0 || h.Height <= 0:
		return fmt.Errorf("%w: %d × %d pixels", ErrDamaged, h.Width, h.Height)
	case h.Width > MaxSide || h.Height > MaxSide || h.Width*h.Height > MaxPixels:
		return fmt.Errorf("%w: %d × %d pixels", ErrTooLarge, h.Width, h.Height)
	}
	return nil
}

// source reads the file for a parser and remembers when it failed, so that a disk that fails is not
// taken for a damaged image.
type source struct {
	reader io.Reader
	err    error
}

func (s *source) Read(into []byte) (int, error) {
	n, err := s.reader.Read(into)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// blame tells whose fault err is: the reader's, or the image's.
func (s *source) blame(err error) error {
	if err == nil || s.err != nil {
		return s.err
	}
	for _, known := range []error{ErrUnsupported, ErrAnimated, ErrTooLarge, ErrTooManyScans, ErrDamaged} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

package totp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"
)

const (
	// maxURIBytes keeps the modules large enough for a phone: version 24 of 40.
	maxURIBytes = 900
	// minPixels is the least side of the image.
	minPixels = 256
	// minModulePixels is the least side of a module.
	minModulePixels = 3
	// quietModules is the white border on each side (ISO/IEC 18004 §5.3.8).
	quietModules = 4
)

// ErrTooLong is a URI of more than 900 bytes.
var ErrTooLong = errors.New("text is too long for a QR code")

// QR returns text as a QR code (ISO/IEC 18004, error correction M): a square PNG of at least 256
// pixels, black on white with its quiet zone, as a data URI (RFC 2397). Its one expected error is
// ErrTooLong. The image shows the key: it is a secret as much as the URI.
func QR(text string) (string, error) {
	if len(text) > maxURIBytes {
		return "", ErrTooLong
	}
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", errors.New("encode QR code: no mode fits") // the library's error quotes the text
	}
	var out bytes.Buffer
	if err := png.Encode(&out, draw(code)); err != nil {
		return "", fmt.Errorf("encode PNG: %w", err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// draw enlarges the modules by a whole number of pixels and puts the quiet zone around them.
func draw(code barcode.Barcode) image.Image {
	modules := code.Bounds().Dx() + 2*quietModules
	scale := max(minModulePixels, (minPixels+modules-1)/modules)
	picture := image.NewPaletted(image.Rect(0, 0, modules*scale, modules*scale), color.Palette{color.White, color.Black})
	for y := range modules * scale {
		for x := range modules * scale {
			module := image.Pt(x/scale-quietModules, y/scale-quietModules)
			if module.In(code.Bounds()) && code.At(module.X, module.Y) == color.Black {
				picture.SetColorIndex(x, y, 1)
			}
		}
	}
	return picture
}

package imaging

import (
	"errors"
	"fmt"
	"image"
)

// Fit says how an image goes into the box of its variant.
type Fit string

// The fits. None distorts.
const (
	Inside  Fit = "INSIDE"  // as large as fits into the box; either side of the box may be open
	Cover   Fit = "COVER"   // fills the box; what stands out on two sides is cut off
	Contain Fit = "CONTAIN" // as Inside, in the middle of a canvas as large as the box
)

// Spec is what a variant shall be like.
type Spec struct {
	Width   int    `json:"width,omitempty"`  // of the box, in pixels; 0: open
	Height  int    `json:"height,omitempty"` // of the box
	Fit     Fit    `json:"fit"`
	Enlarge bool   `json:"enlarge,omitempty"` // beyond the size of the image
	Format  Format `json:"format"`            // JPEG or PNG
	Quality int    `json:"quality,omitempty"` // of a JPEG, 1 to 100; 0: 82
}

// MaxPlanned is how many pixels all variants of one image may have together.
const MaxPlanned = 2 * MaxPixels

// ErrOutputTooLarge says that a variant, or all of them together, would be larger than what is written.
var ErrOutputTooLarge = errors.New("variants of too many pixels")

// Plan is what shall be made of an image.
type Plan struct {
	header Header
	makes  []making
}

// making is the geometry of one variant. All but the canvas is in the image as stored: what is
// transposed is turned when it is put on the canvas.
type making struct {
	spec          Spec
	crop          image.Rectangle // of the image
	width, height int             // what the crop is scaled to
	canvas        image.Point     // size of the variant
	at            image.Point     // where on the canvas
}

// NewPlan returns what specs ask of an image. ErrOutputTooLarge says that it is too much.
func NewPlan(h Header, specs []Spec) (Plan, error) {
	p := Plan{header: h}
	planned := 0
	for _, s := range specs {
		m := h.plan(s)
		if m.canvas.X > MaxSide || m.canvas.Y > MaxSide || m.canvas.X*m.canvas.Y > MaxPixels {
			return Plan{}, fmt.Errorf("%w: %d × %d", ErrOutputTooLarge, m.canvas.X, m.canvas.Y)
		}
		if planned += m.canvas.X * m.canvas.Y; planned > MaxPlanned {
			return Plan{}, fmt.Errorf("%w: more than %d in all", ErrOutputTooLarge, MaxPlanned)
		}
		p.makes = append(p.makes, m)
	}
	return p, nil
}

// Size returns the width and height of a variant.
func (p Plan) Size(variant int) (width, height int) {
	return p.makes[variant].canvas.X, p.makes[variant].canvas.Y
}

func (h Header) plan(s Spec) making {
	boxWidth, boxHeight := h.Orientation.turn(s.Width, s.Height)
	m := making{spec: s, crop: image.Rect(0, 0, h.Width, h.Height)}
	if s.Fit == Cover {
		m.crop = centred(h.Width, h.Height, boxWidth, boxHeight)
		m.width, m.height = boxWidth, boxHeight
		if size := m.crop.Size(); !s.Enlarge && (size.X < boxWidth || size.Y < boxHeight) {
			m.width, m.height = size.X, size.Y
		}
	} else {
		m.width, m.height = fitted(h.Width, h.Height, boxWidth, boxHeight, s.Enlarge)
	}
	width, height := h.Orientation.turn(m.width, m.height)
	m.canvas = image.Pt(width, height)
	if s.Fit == Contain {
		m.canvas = image.Pt(s.Width, s.Height)
		m.at = image.Pt((s.Width-width)/2, (s.Height-height)/2)
	}
	return m
}

// fitted returns the largest size with the aspect of width × height that fits into the box, whose open
// sides are 0. No side gets shorter than a pixel.
func fitted(width, height, boxWidth, boxHeight int, enlarge bool) (int, int) {
	if boxWidth == 0 && boxHeight == 0 || !enlarge && (boxWidth == 0 || boxWidth >= width) && (boxHeight == 0 || boxHeight >= height) {
		return width, height
	}
	if boxHeight == 0 || boxWidth != 0 && boxWidth*height <= boxHeight*width {
		return boxWidth, max(1, (height*boxWidth+width/2)/width)
	}
	return max(1, (width*boxHeight+height/2)/height), boxHeight
}

// centred returns the largest middle part of width × height with the aspect of the box.
func centred(width, height, boxWidth, boxHeight int) image.Rectangle {
	cutWidth, cutHeight := width, height
	if width*boxHeight > height*boxWidth {
		cutWidth = max(1, (height*boxWidth+boxHeight/2)/boxHeight)
	} else {
		cutHeight = max(1, (width*boxHeight+boxWidth/2)/boxWidth)
	}
	left, top := (width-cutWidth)/2, (height-cutHeight)/2
	return image.Rect(left, top, left+cutWidth, top+cutHeight)
}

// Memory is how many bytes working on the image takes at the most:
//
//	decoder + 4 × scaled width × cut height + 4 × canvas width × canvas height + bands
//
// each the largest of all variants. For a pixel the decoder takes 1 to 3 bytes for a baseline JPEG, 5 to
// 20 for a progressive one, and 4 more for CMYK and RGB; 1 to 16 for a PNG, 5 for a GIF, 2 to 11 for a
// WebP and 8 for a lossless one, which takes up to 150 MiB besides for its trees.
func (p Plan) Memory() int64 {
	b := p.buffers()
	return p.header.memory + b.middle + b.canvas + b.bands
}

// buffers are the bytes that rendering takes.
type buffers struct{ middle, canvas, bands int64 }

// buffers returns what any of the variants takes at the most.
func (p Plan) buffers() (b buffers) {
	for _, m := range p.makes {
		width, height, cut := int64(m.width), int64(m.height), int64(m.crop.Dy())
		b.middle = max(b.middle, 4*width*cut)
		b.canvas = max(b.canvas, 4*int64(m.canvas.X)*int64(m.canvas.Y))
		b.bands = max(b.bands, 32*bandRows*width+bandColumns*(32*cut+4*height)) // the scaler's, and the strip
	}
	return b
}

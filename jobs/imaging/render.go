package imaging

import (
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

// The scaler works on bands, since it holds 32 bytes for each pixel that it works on at once: first
// the columns of some rows, then the rows of some columns. A band is also how often it looks at its
// context.
const (
	bandRows    = 32
	bandColumns = 32
)

// defaultQuality of a JPEG: nobody sees a difference to the original, at a fifth of the bytes of 100.
const defaultQuality = 82

// Picture is a decoded image. It belongs to one goroutine.
type Picture struct {
	plan           Plan
	source         image.Image
	middle, canvas []byte // as large as any variant needs them
}

// Decode decodes the image in r, which is the file that the plan's header came from. What is wrong
// with it is ErrDamaged; any other error is one of r or the cause why ctx ended.
func (p Plan) Decode(ctx context.Context, r io.Reader) (*Picture, error) {
	from := &source{reader: readUntil(ctx, r)}
	decoded, err := p.header.decode(from)
	if err == nil && decoded.Bounds() != image.Rect(0, 0, p.header.Width, p.header.Height) {
		err = fmt.Errorf("its header told of %d × %d pixels, not of %v", p.header.Width, p.header.Height, decoded.Bounds())
	}
	if err != nil {
		return nil, from.blame(err)
	}
	need := p.buffers()
	return &Picture{plan: p, source: decoded, middle: make([]byte, need.middle), canvas: make([]byte, need.canvas)}, nil
}

func (h Header) decode(r io.Reader) (image.Image, error) {
	switch h.Format {
	case JPEG:
		return jpeg.Decode(r)
	case PNG:
		return png.Decode(r)
	case GIF:
		return decodeGIF(r, h)
	case WebP:
		return webp.Decode(r)
	}
	return nil, ErrUnsupported
}

// Render writes a variant to w. An error is one of w or the cause why ctx ended.
func (p *Picture) Render(ctx context.Context, variant int, w io.Writer) error {
	m := p.plan.makes[variant]
	middle, err := p.scaleColumns(ctx, m)
	if err != nil {
		return err
	}
	canvas := over(p.canvas, m.canvas.X, m.canvas.Y)
	background(canvas.Pix, m.spec.Format)
	if err := p.scaleRows(ctx, m, middle, canvas); err != nil {
		return err
	}
	return encode(writeUntil(ctx, w), canvas, m.spec)
}

// scaleColumns returns the crop in its final width and its first height. To scale in one direction
// only is exact: the kernel is 0 at all whole numbers but 0.
func (p *Picture) scaleColumns(ctx context.Context, m making) (*image.RGBA, error) {
	height := m.crop.Dy()
	middle := over(p.middle, m.width, height)
	scaler := draw.CatmullRom.NewScaler(m.width, bandRows, m.crop.Dx(), bandRows)
	for top := 0; top < height; top += bandRows {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		bottom := min(top+bandRows, height)
		from := image.Rect(m.crop.Min.X, m.crop.Min.Y+top, m.crop.Max.X, m.crop.Min.Y+bottom)
		scaler.Scale(middle, image.Rect(0, top, m.width, bottom), p.source, from, draw.Src, nil)
	}
	return middle, nil
}

// scaleRows scales middle to its final height and puts it on the canvas, upright.
func (p *Picture) scaleRows(ctx context.Context, m making, middle, canvas *image.RGBA) error {
	height := m.crop.Dy()
	scaler := draw.CatmullRom.NewScaler(bandColumns, m.height, bandColumns, height)
	strip := image.NewRGBA(image.Rect(0, 0, bandColumns, m.height))
	for left := 0; left < m.width; left += bandColumns {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		columns := min(bandColumns, m.width-left)
		scaler.Scale(strip, image.Rect(0, 0, columns, m.height), middle, image.Rect(left, 0, left+columns, height), draw.Src, nil)
		put(canvas, strip, left, columns, m, p.plan.header.Orientation)
	}
	return nil
}

// put copies the columns of strip, which begin at left of the scaled image, to where they are shown.
func put(canvas, strip *image.RGBA, left, columns int, m making, o Orientation) {
	opaque := m.spec.Format == JPEG
	for y := range m.height {
		for x := range columns {
			shownX, shownY := left+x, y
			if o.mirroredX() {
				shownX = m.width - 1 - shownX
			}
			if o.mirroredY() {
				shownY = m.height - 1 - shownY
			}
			shownX, shownY = o.turn(shownX, shownY)
			from := strip.Pix[y*strip.Stride+4*x:][:4:4]
			to := canvas.Pix[(m.at.Y+shownY)*canvas.Stride+4*(m.at.X+shownX):][:4:4]
			copy(to, from)
			if opaque { // on white
				white := 0xff - from[3]
				to[0], to[1], to[2], to[3] = to[0]+white, to[1]+white, to[2]+white, 0xff
			}
		}
	}
}

// over returns an image of that size in the memory of pixels, whose content stays.
func over(pixels []byte, width, height int) *image.RGBA {
	return &image.RGBA{Pix: pixels[:4*width*height], Stride: 4 * width, Rect: image.Rect(0, 0, width, height)}
}

// background fills pixels with white for a JPEG, which knows no transparency, and with nothing else.
func background(pixels []byte, f Format) {
	if f != JPEG {
		clear(pixels)
		return
	}
	for i := range pixels {
		pixels[i] = 0xff
	}
}

func encode(w io.Writer, canvas *image.RGBA, s Spec) error {
	if s.Format == PNG {
		return png.Encode(w, canvas)
	}
	quality := s.Quality
	if quality == 0 {
		quality = defaultQuality
	}
	return jpeg.Encode(w, canvas, &jpeg.Options{Quality: quality})
}

// readFunc is a function that reads.
type readFunc func(into []byte) (int, error)

func (f readFunc) Read(into []byte) (int, error) { return f(into) }

// readUntil reads r until ctx ends, and so ends whoever decodes it.
func readUntil(ctx context.Context, r io.Reader) io.Reader {
	return readFunc(func(into []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(into)
	})
}

// writeFunc is a function that writes.
type writeFunc func(content []byte) (int, error)

func (f writeFunc) Write(content []byte) (int, error) { return f(content) }

// writeUntil writes to w until ctx ends, and so ends whoever encodes.
func writeUntil(ctx context.Context, w io.Writer) io.Writer {
	return writeFunc(func(content []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return w.Write(content)
	})
}

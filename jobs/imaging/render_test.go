package imaging

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"

	"golang.org/x/image/draw"
)

// render makes one variant of a file and returns its bytes.
func render(t testing.TB, file []byte, s Spec) []byte {
	t.Helper()
	h, err := inspectBytes(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(h, []Spec{s})
	if err != nil {
		t.Fatal(err)
	}
	picture, err := p.Decode(t.Context(), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := picture.Render(t.Context(), 0, &b); err != nil {
		t.Fatal(err)
	}
	made, _, err := image.DecodeConfig(bytes.NewReader(b.Bytes()))
	if width, height := p.Size(0); err != nil || made.Width != width || made.Height != height {
		t.Errorf("%+v made %d × %d pixels, %v; planned were %d × %d", s, made.Width, made.Height, err, width, height)
	}
	return b.Bytes()
}

func renderPNG(t testing.TB, file []byte, s Spec) image.Image {
	t.Helper()
	s.Format = PNG
	m, err := png.Decode(bytes.NewReader(render(t, file, s)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// like reports whether two colours differ by no more than off of 255 in any channel.
func like(a, b color.Color, off int) bool {
	ar, ag, ab, aa := a.RGBA()
	br, bg, bb, ba := b.RGBA()
	for _, d := range []int{int(ar) - int(br), int(ag) - int(bg), int(ab) - int(bb), int(aa) - int(ba)} {
		if d > off*257 || d < -off*257 {
			return false
		}
	}
	return true
}

// TestImagesAreTurnedUpright goes by the table of EXIF 2.32 §4.6.4 A: where the 0th row and the 0th
// column of the stored image stand. Its first pixel is at their corner; its first row ends, and its
// first column, at the other end of theirs.
func TestImagesAreTurnedUpright(t *testing.T) {
	stored := plain(80, 48, color.White) // more than a band each way
	stored.Set(0, 0, red)
	stored.Set(79, 0, green)
	stored.Set(0, 47, blue)
	topLeft, topRight, bottomLeft, bottomRight := [2]int{0, 0}, [2]int{1, 0}, [2]int{0, 1}, [2]int{1, 1}
	for i, c := range []struct{ first, rowEnd, columnEnd [2]int }{
		{topLeft, topRight, bottomLeft},
		{topRight, topLeft, bottomRight},
		{bottomRight, bottomLeft, topRight},
		{bottomLeft, bottomRight, topLeft},
		{topLeft, bottomLeft, topRight},
		{topRight, bottomRight, topLeft},
		{bottomRight, topRight, bottomLeft},
		{bottomLeft, topLeft, bottomRight},
	} {
		o := Orientation(i + 1)
		shown := renderPNG(t, withChunks(encodePNG(t, stored), nil, chunk("eXIf", exif(o, binary.BigEndian))), Spec{Fit: Inside})
		size := shown.Bounds().Size()
		if want := map[bool]image.Point{false: {80, 48}, true: {48, 80}}[o > 4]; size != want {
			t.Errorf("orientation %d is shown in %v, want %v", o, size, want)
		}
		for name, at := range map[string]struct {
			corner [2]int
			want   color.Color
		}{"first pixel": {c.first, red}, "end of the first row": {c.rowEnd, green}, "end of the first column": {c.columnEnd, blue}} {
			if got := shown.At(at.corner[0]*(size.X-1), at.corner[1]*(size.Y-1)); !like(got, at.want, 0) {
				t.Errorf("orientation %d: the %s is %v, want %v", o, name, got, at.want)
			}
		}
	}
}

func TestEveryFormatIsDecoded(t *testing.T) {
	m := plain(40, 30, blue)
	for name, file := range map[string][]byte{
		"JPEG": encodeJPEG(t, m), "PNG": encodePNG(t, m), "WebP": riff("VP8L", lossless(40, 30, blue)),
		"WebP with a canvas": riff("VP8X", canvasOf(0, 40, 30), "VP8L", lossless(40, 30, blue)),
	} {
		shown := renderPNG(t, file, Spec{Width: 20, Fit: Inside})
		if got := shown.At(7, 7); !like(got, blue, 3) || shown.Bounds().Size() != image.Pt(20, 15) {
			t.Errorf("of a %s came %v with %v in it", name, shown.Bounds(), got)
		}
	}
	if got := renderPNG(t, progressive(30, 20), Spec{Fit: Inside}).At(29, 19); !like(got, color.Gray{128}, 1) {
		t.Errorf("of a progressive JPEG came %v", got)
	}
}

func TestTheFirstFrameOfAnAnimationIsShownOnItsScreen(t *testing.T) {
	shown := renderPNG(t, animation(t), Spec{Fit: Inside})
	for y := range 4 {
		for x := range 4 {
			want := color.Color(color.Transparent)
			if x == 1 && y == 2 {
				want = red
			}
			if got := shown.At(x, y); !like(got, want, 0) {
				t.Errorf("(%d, %d) is %v, want %v", x, y, got, want)
			}
		}
	}
}

// TestNothingButPixelsIsWritten looks at what variants consist of.
func TestNothingButPixelsIsWritten(t *testing.T) {
	m := pattern(64, 48)
	hidden := "<script>" + secret + "</script>PK\x03\x04"
	for name, file := range map[string][]byte{
		"a photograph": append(camera(encodeJPEG(t, m), 6), hidden...),
		"a drawing": append(withChunks(encodePNG(t, m), chunk("eXIf", exif(3, binary.LittleEndian)),
			chunk("tEXt", []byte("Comment\x00"+secret)), chunk("iTXt", []byte("XML:com.adobe.xmp\x00\x00\x00\x00\x00"+secret))), hidden...),
		"a WebP": append(riff("VP8X", canvasOf(12, 3, 2), "VP8L", lossless(3, 2, red),
			"EXIF", exif(5, binary.LittleEndian), "XMP ", []byte(secret)), hidden...),
		"a GIF": append(animation(t), hidden...),
	} {
		if !bytes.Contains(file, []byte(secret)) {
			t.Fatalf("%s has nothing to hide", name)
		}
		for _, f := range []Format{JPEG, PNG} {
			made := render(t, file, Spec{Fit: Inside, Format: f})
			if bytes.Contains(made, []byte(secret)) || bytes.Contains(made, []byte("<script>")) {
				t.Errorf("a %s of %s tells where it was taken", f, name)
			}
			if got, want := parts(t, made), map[Format]string{JPEG: "db c0 c4 da", PNG: "IHDR IDAT IEND"}[f]; got != want {
				t.Errorf("a %s of %s consists of %s, want %s", f, name, got, want)
			}
		}
	}
}

// parts names the segments of a JPEG up to its scan, or the chunks of a PNG, each once.
func parts(t *testing.T, file []byte) string {
	t.Helper()
	var names []string
	if bytes.HasPrefix(file, []byte(pngMagic)) {
		for at := 8; at < len(file); {
			names = append(names, string(file[at+4:at+8]))
			at += 12 + int(binary.BigEndian.Uint32(file[at:]))
		}
	} else {
		for at := 2; len(names) == 0 || names[len(names)-1] != "da"; {
			names = append(names, fmt.Sprintf("%x", file[at+1]))
			at += 2 + int(binary.BigEndian.Uint16(file[at+2:]))
		}
	}
	var once []string
	for i, n := range names {
		if i == 0 || n != names[i-1] {
			once = append(once, n)
		}
	}
	return strings.Join(once, " ")
}

func TestBandsLeaveNoTrace(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 150, 131)) // without sharp edges, whose overshoot is cut off between the two directions
	for i := range m.Pix {
		x, y := i/4%150, i/600
		m.Pix[i] = [4]byte{byte(x), byte(255 - y), byte((x + y) / 2), byte(255 - x/2)}[i%4]
	}
	for _, size := range []image.Point{{77, 67}, {40, 35}, {150, 131}, {300, 262}} {
		want := image.NewRGBA(image.Rectangle{Max: size})
		draw.CatmullRom.Scale(want, want.Bounds(), m, m.Bounds(), draw.Src, nil)
		got := renderPNG(t, encodePNG(t, m), Spec{Width: size.X, Height: size.Y, Fit: Cover, Enlarge: true})
		for y := range size.Y {
			for x := range size.X {
				if !like(got.At(x, y), want.At(x, y), 2) {
					t.Fatalf("scaled to %v, (%d, %d) is %v, want %v", size, x, y, got.At(x, y), want.At(x, y))
				}
			}
		}
	}
}

func TestWhatIsTransparentBecomesWhiteInAJPEG(t *testing.T) {
	file := encodePNG(t, plain(16, 16, color.NRGBA{0, 0, 0, 128}))
	got, err := jpeg.Decode(bytes.NewReader(render(t, file, Spec{Width: 32, Height: 16, Fit: Contain, Format: JPEG})))
	if err != nil {
		t.Fatal(err)
	}
	if half, margin := got.At(16, 8), got.At(1, 8); !like(half, color.Gray{127}, 3) || !like(margin, color.White, 3) {
		t.Errorf("half of black is %v and the margin %v", half, margin)
	}
}

func TestAQualityIsKept(t *testing.T) {
	file := encodePNG(t, pattern(64, 64))
	worst, usual, best := len(render(t, file, Spec{Fit: Inside, Format: JPEG, Quality: 1})),
		len(render(t, file, Spec{Fit: Inside, Format: JPEG})), len(render(t, file, Spec{Fit: Inside, Format: JPEG, Quality: 100}))
	if worst >= usual || usual >= best {
		t.Errorf("JPEGs of quality 1, 82 and 100 have %d, %d and %d bytes", worst, usual, best)
	}
}

func TestAnEndedContextEndsTheWork(t *testing.T) {
	file, why := encodePNG(t, pattern(600, 600)), errors.New("cancelled by the owner")
	h, err := inspectBytes(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(h, []Spec{{Width: 300, Fit: Inside, Format: PNG}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	picture, err := p.Decode(ctx, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	wrote := 0
	err = picture.Render(ctx, 0, writeFunc(func(content []byte) (int, error) {
		wrote++
		end(why)
		return len(content), nil
	}))
	if !errors.Is(err, why) || wrote != 1 {
		t.Errorf("ended in the middle of writing: %v after %d writes", err, wrote)
	}
	if err := picture.Render(ctx, 0, io.Discard); !errors.Is(err, why) {
		t.Errorf("ended before scaling: %v", err)
	}
	if _, err := p.Decode(ctx, bytes.NewReader(file)); !errors.Is(err, why) || errors.Is(err, ErrDamaged) {
		t.Errorf("ended before decoding: %v", err)
	}
}

func TestADamageBehindTheHeaderIsFoundWhileDecoding(t *testing.T) {
	good := encodePNG(t, pattern(64, 64))
	damaged := bytes.Clone(good)
	damaged[len(damaged)/2] ^= 0xff
	grown := jpegFrame(frameBaseline, 64, 64, 0x11) // a frame without its scan
	for name, file := range map[string][]byte{"a PNG": damaged, "a JPEG": grown, "a GIF": animation(t)[:40]} {
		h, err := inspectBytes(file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p, err := NewPlan(h, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Decode(t.Context(), bytes.NewReader(file)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want it damaged", name, err)
		}
	}
}

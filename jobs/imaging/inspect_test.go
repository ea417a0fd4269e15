package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func inspectBytes(file []byte) (Header, error) {
	return Inspect(bytes.NewReader(file), int64(len(file)))
}

func TestTheFormatIsFoundByTheContent(t *testing.T) {
	m := plain(3, 2, red)
	for _, c := range []struct {
		name string
		file []byte
		want Header
	}{
		{"a JPEG", encodeJPEG(t, m), Header{JPEG, 3, 2, 1, 0}},
		{"a JPEG from a camera", camera(encodeJPEG(t, m), 6), Header{JPEG, 3, 2, 6, 0}},
		{"a progressive JPEG", progressive(30, 20), Header{JPEG, 30, 20, 1, 0}},
		{"a PNG", encodePNG(t, m), Header{PNG, 3, 2, 1, 0}},
		{"a PNG with EXIF at its end", withChunks(encodePNG(t, m), chunk("eXIf", exif(8, binary.LittleEndian))), Header{PNG, 3, 2, 8, 0}},
		{"a GIF", animation(t), Header{GIF, 4, 4, 1, 0}},
		{"a WebP", riff("VP8L", lossless(3, 2, red)), Header{WebP, 3, 2, 1, 0}},
		{"a WebP with EXIF", riff("VP8X", canvasOf(8, 3, 2), "VP8L", lossless(3, 2, red), "EXIF", exif(5, binary.LittleEndian)), Header{WebP, 3, 2, 5, 0}},
		{"a lossy WebP", riff("VP8 ", []byte{0, 0, 0, 0x9d, 1, 0x2a, 3, 0x40, 2, 0x80}), Header{WebP, 3, 2, 1, 0}},
	} {
		got, err := inspectBytes(c.file)
		if got.memory <= 0 {
			t.Errorf("%s takes %d bytes", c.name, got.memory)
		}
		if got.memory = 0; err != nil || got != c.want {
			t.Errorf("%s is %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestWhatIsNoImageOfOursIsRefusedFromItsHeader(t *testing.T) {
	photo, drawing := encodeJPEG(t, pattern(64, 64)), encodePNG(t, pattern(64, 64))
	scans := bytes.Repeat(segment(startOfScan, []byte{1, 1, 0, 0, 0, 0}), maxScans+1)
	huge := riff("VP8L", lossless(3, 2, red))
	binary.LittleEndian.PutUint32(huge[4:], 2<<30)
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"nothing", nil, ErrUnsupported},
		{"a text", []byte("<svg xmlns='http://www.w3.org/2000/svg'/>"), ErrUnsupported},
		{"a PDF", []byte("%PDF-1.7\n%more and more"), ErrUnsupported},
		{"a page that begins like a JPEG", []byte("\xff\xd8\xff<html><script>alert(1)</script></html>"), ErrDamaged},
		{"a PNG of 100,000 × 100,000", pngHeader(100_000, 100_000), ErrTooLarge},
		{"a PNG of two billion columns", pngHeader(1<<31-1, 1), ErrTooLarge},
		{"a PNG of four billion columns", pngHeader(1<<32-1, 1), ErrDamaged},
		{"a PNG of no column", pngHeader(0, 1), ErrDamaged},
		{"a PNG of 51 megapixels", pngHeader(10_000, 5_100), ErrTooLarge},
		{"a JPEG of 65,535 × 65,535", jpegFrame(frameBaseline, 65535, 65535, 0x11), ErrTooLarge},
		{"a JPEG of two frames", withSegments(photo, jpegFrame(frameBaseline, 8, 8, 0x11)[2:15]), ErrDamaged},
		{"a JPEG without a frame", []byte{0xff, 0xd8, 0xff, endOfImage}, ErrDamaged},
		{"a JPEG of 101 scans", append(bytes.Clone(photo[:len(photo)-2]), append(scans, 0xff, endOfImage)...), ErrTooManyScans},
		{"a GIF of 65,535 × 65,535", []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), ErrTooLarge},
		{"a WebP of 16,384 × 16,384", riff("VP8L", lossless(16384, 16384, red)), ErrTooLarge},
		{"a WebP of 16 million columns", riff("VP8X", canvasOf(0, 1<<24, 1<<24)), ErrTooLarge},
		{"a WebP whose frame is larger than its canvas", riff("VP8X", canvasOf(0, 3, 2), "VP8L", lossless(5000, 5000, red)), ErrDamaged},
		{"a WebP that declares 2 GiB", huge, ErrDamaged},
		{"an animated WebP", riff("VP8X", canvasOf(webpAnimated, 3, 2), "ANIM", make([]byte, 6)), ErrAnimated},
		{"a WebP without an image", riff("EXIF", exif(1, binary.LittleEndian)), ErrDamaged},
		{"half a JPEG", photo[:len(photo)/2], ErrDamaged},
		{"half a PNG", drawing[:len(drawing)/2], ErrDamaged},
	} {
		if h, err := inspectBytes(c.file); !errors.Is(err, c.want) {
			t.Errorf("%s: got %+v, %v; want %v", c.name, h, err, c.want)
		}
	}
	if _, err := Inspect(strings.NewReader(""), MaxBytes+1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file of 128 MiB and a byte: %v", err)
	}
}

func TestADiskThatFailsIsNotADamagedImage(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, file := range [][]byte{nil, encodePNG(t, pattern(64, 64))[:100], encodeJPEG(t, pattern(64, 64))[:300]} {
		_, err := Inspect(io.MultiReader(bytes.NewReader(file), iotest.ErrReader(broken)), 1000)
		if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
			t.Errorf("after %d bytes: %v", len(file), err)
		}
	}
}

func TestAnOrientationThatCannotBeReadIsUpright(t *testing.T) {
	good := exif(6, binary.LittleEndian)
	if got := orientationOf(good); got != 6 {
		t.Fatalf("orientation %d, want 6", got)
	}
	changed := func(at int, value ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], value)
		return b
	}
	const entry = 8 + 2 + 12 // where the orientation stands
	for name, tiff := range map[string][]byte{
		"nothing":                  nil,
		"neither order":            changed(0, 'I', 'M'),
		"a directory far away":     changed(4, 0xff, 0xff, 0xff, 0xff),
		"a directory at the end":   changed(4, byte(len(good)-1)),
		"a directory of no entry":  changed(8, 0, 0),
		"a cut directory":          good[:entry+4],
		"a value of 0":             changed(entry+8, 0),
		"a value of 9":             changed(entry+8, 9),
		"a value of another type":  changed(entry+2, 4),
		"more than one value":      changed(entry+4, 2),
		"no orientation among all": changed(entry, 0),
	} {
		if got := orientationOf(tiff); got != Upright {
			t.Errorf("%s: orientation %d, want 1", name, got)
		}
	}
	if got := orientationOf(changed(8, 0xff, 0xff)); got != 6 {
		t.Errorf("a directory of 65,535 entries, most of them missing: orientation %d, want 6", got)
	}
}

// FuzzInspect checks that no file makes the reader panic, that what passes is within the bounds, and
// that small images are then decoded and made into what was planned, or refused as damaged.
func FuzzInspect(f *testing.F) {
	m := pattern(9, 7)
	for _, file := range [][]byte{
		camera(encodeJPEG(f, m), 6), progressive(30, 20), animation(f),
		withChunks(encodePNG(f, m), chunk("eXIf", exif(8, binary.LittleEndian))), encodePNG(f, image.NewGray16(image.Rect(0, 0, 3, 3))),
		riff("VP8X", canvasOf(8, 3, 2), "VP8L", lossless(3, 2, red), "EXIF", exif(5, binary.LittleEndian)),
		riff("VP8 ", []byte{0, 0, 0, 0x9d, 1, 0x2a, 3, 0x40, 2, 0x80}), pngHeader(100_000, 100_000),
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := inspectBytes(file)
		if err != nil {
			return
		}
		if h.Width < 1 || h.Height < 1 || h.Width > MaxSide || h.Height > MaxSide || h.Width*h.Height > MaxPixels || h.memory <= 0 {
			t.Fatalf("%+v passed", h)
		}
		if h.Width*h.Height > 100_000 {
			return
		}
		p, err := NewPlan(h, []Spec{{Width: 5, Height: 5, Fit: Contain, Format: PNG}})
		if err != nil {
			t.Fatal(err)
		}
		picture, err := p.Decode(t.Context(), bytes.NewReader(file))
		if errors.Is(err, ErrDamaged) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := picture.Render(t.Context(), 0, io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzOrientation checks that no TIFF structure makes the reader panic.
func FuzzOrientation(f *testing.F) {
	f.Add(exif(3, binary.LittleEndian))
	f.Add(exif(7, binary.BigEndian))
	f.Fuzz(func(t *testing.T, tiff []byte) {
		if o := orientationOf(tiff); o < Upright || o > lastOrientation {
			t.Errorf("orientation %d", o)
		}
	})
}

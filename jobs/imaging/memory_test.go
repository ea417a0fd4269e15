//go:build !race

package imaging

import (
	"bytes"
	"image"
	"io"
	"runtime"
	"testing"

	"golang.org/x/image/draw"
)

// TestAnImageTakesNoMoreMemoryThanWasPlanned compares all that is ever allocated with the plan, which
// is stricter than what is held at once. The race detector has pools forget what they hold.
func TestAnImageTakesNoMoreMemoryThanWasPlanned(t *testing.T) {
	const width, height, slack = 1600, 1200, 4 << 20 // another band, as the last is smaller; the scaler's weights; the encoder
	m := pattern(width, height)
	deep := image.NewNRGBA64(m.Bounds())
	draw.Draw(deep, deep.Bounds(), m, image.Point{}, draw.Src)
	for name, file := range map[string][]byte{
		"JPEG": encodeJPEG(t, m), "progressive JPEG": progressive(width, height), "PNG": encodePNG(t, m), "deep PNG": encodePNG(t, deep),
		"WebP": riff("VP8L", lossless(width, height, red)),
	} {
		h, err := inspectBytes(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(h, []Spec{{Width: 800, Height: 800, Fit: Cover, Format: JPEG}})
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		picture, err := p.Decode(t.Context(), bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if err := picture.Render(t.Context(), 0, io.Discard); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		took := int64(after.TotalAlloc - before.TotalAlloc)
		t.Logf("%s took %d KiB, planned were %d", name, took>>10, p.Memory()>>10)
		if took > p.Memory()+slack {
			t.Errorf("%s took %d bytes, planned were %d", name, took, p.Memory())
		}
	}
}

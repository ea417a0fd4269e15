package imaging

import (
	"errors"
	"image"
	"testing"
)

func TestAVariantFitsItsBox(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int // of the image as stored
		orientation   Orientation
		spec          Spec
		scaled        image.Point // as stored
		canvas, at    image.Point
		crop          image.Rectangle // zero: all of it
	}{
		{"no box", 400, 300, 1, Spec{Fit: Inside}, image.Pt(400, 300), image.Pt(400, 300), image.Point{}, image.Rectangle{}},
		{"a width", 400, 300, 1, Spec{Fit: Inside, Width: 200}, image.Pt(200, 150), image.Pt(200, 150), image.Point{}, image.Rectangle{}},
		{"a height", 400, 300, 1, Spec{Fit: Inside, Height: 30}, image.Pt(40, 30), image.Pt(40, 30), image.Point{}, image.Rectangle{}},
		{"a wide box", 400, 300, 1, Spec{Fit: Inside, Width: 300, Height: 30}, image.Pt(40, 30), image.Pt(40, 30), image.Point{}, image.Rectangle{}},
		{"a high box", 400, 300, 1, Spec{Fit: Inside, Width: 40, Height: 900}, image.Pt(40, 30), image.Pt(40, 30), image.Point{}, image.Rectangle{}},
		{"a larger box", 400, 300, 1, Spec{Fit: Inside, Width: 800, Height: 800}, image.Pt(400, 300), image.Pt(400, 300), image.Point{}, image.Rectangle{}},
		{"a larger box, enlarged", 400, 300, 1, Spec{Fit: Inside, Width: 800, Height: 800, Enlarge: true}, image.Pt(800, 600), image.Pt(800, 600), image.Point{}, image.Rectangle{}},
		{"a thread", 9000, 2, 1, Spec{Fit: Inside, Width: 100}, image.Pt(100, 1), image.Pt(100, 1), image.Point{}, image.Rectangle{}},
		{"turned", 400, 300, 6, Spec{Fit: Inside, Width: 150}, image.Pt(200, 150), image.Pt(150, 200), image.Point{}, image.Rectangle{}},
		{"covered", 400, 300, 1, Spec{Fit: Cover, Width: 100, Height: 100}, image.Pt(100, 100), image.Pt(100, 100), image.Point{}, image.Rect(50, 0, 350, 300)},
		{"covered by what is higher", 300, 400, 1, Spec{Fit: Cover, Width: 100, Height: 50}, image.Pt(100, 50), image.Pt(100, 50), image.Point{}, image.Rect(0, 125, 300, 275)},
		{"covered and turned", 400, 300, 8, Spec{Fit: Cover, Width: 50, Height: 100}, image.Pt(100, 50), image.Pt(50, 100), image.Point{}, image.Rect(0, 50, 400, 250)},
		{"covered by what is smaller", 40, 30, 1, Spec{Fit: Cover, Width: 100, Height: 100}, image.Pt(30, 30), image.Pt(30, 30), image.Point{}, image.Rect(5, 0, 35, 30)},
		{"covered and enlarged", 40, 30, 1, Spec{Fit: Cover, Width: 100, Height: 100, Enlarge: true}, image.Pt(100, 100), image.Pt(100, 100), image.Point{}, image.Rect(5, 0, 35, 30)},
		{"contained", 400, 300, 1, Spec{Fit: Contain, Width: 100, Height: 100}, image.Pt(100, 75), image.Pt(100, 100), image.Pt(0, 12), image.Rectangle{}},
		{"contained and turned", 400, 300, 6, Spec{Fit: Contain, Width: 100, Height: 100}, image.Pt(100, 75), image.Pt(100, 100), image.Pt(12, 0), image.Rectangle{}},
		{"contained, smaller", 40, 30, 1, Spec{Fit: Contain, Width: 100, Height: 100}, image.Pt(40, 30), image.Pt(100, 100), image.Pt(30, 35), image.Rectangle{}},
	} {
		h := Header{Width: c.width, Height: c.height, Orientation: c.orientation}
		if c.crop.Empty() {
			c.crop = image.Rect(0, 0, c.width, c.height)
		}
		got := h.plan(c.spec)
		if want := (making{c.spec, c.crop, c.scaled.X, c.scaled.Y, c.canvas, c.at}); got != want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, want)
		}
	}
}

func TestVariantsHaveABoundEachAndTogether(t *testing.T) {
	h := Header{Width: 8000, Height: 6000, Orientation: Upright}
	whole := Spec{Fit: Inside, Format: PNG}
	for _, c := range []struct {
		name  string
		specs []Spec
		good  bool
	}{
		{"the image twice", []Spec{whole, whole}, true},
		{"the image three times", []Spec{whole, whole, whole}, false},
		{"51 megapixels", []Spec{{Width: 10_000, Height: 5_100, Fit: Contain}}, false},
		{"a side of 16,385 pixels", []Spec{{Width: 16385, Height: 1, Fit: Contain}}, false},
		{"a side that follows from the other", []Spec{{Height: 16384, Fit: Inside, Enlarge: true}}, false},
	} {
		if _, err := NewPlan(h, c.specs); (err == nil) != c.good || err != nil && !errors.Is(err, ErrOutputTooLarge) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/fault"
	"gatehouse/jobs/imaging"
)

func TestAVariantThatCannotBeMadeIsRefusedByItsField(t *testing.T) {
	good := func(name string) ImageSpec {
		return ImageSpec{name, imaging.Spec{Width: 100, Fit: imaging.Inside, Format: imaging.JPEG, Quality: 80}}
	}
	with := func(change func(*ImageSpec)) []ImageSpec {
		second := good("b")
		change(&second)
		return []ImageSpec{good("a"), second}
	}
	for _, c := range []struct {
		name     string
		variants []ImageSpec
		code     fault.Code
		field    string
	}{
		{"no variant", nil, fault.Required, "variants"},
		{"too many variants", make([]ImageSpec, maxVariants+1), fault.TooLarge, "variants"},
		{"a name twice", []ImageSpec{good("a"), good("a")}, fault.Taken, "variants.1.name"},
		{"the name of one without a name", []ImageSpec{good("variant-2"), good("")}, fault.Taken, "variants.1.name"},
		{"a path for a name", with(func(s *ImageSpec) { s.Name = "../b" }), fault.Invalid, "variants.1.name"},
		{"a name that begins with a dash", with(func(s *ImageSpec) { s.Name = "-b" }), fault.Invalid, "variants.1.name"},
		{"a name of two lines", with(func(s *ImageSpec) { s.Name = "b\n" }), fault.Invalid, "variants.1.name"},
		{"a long name", with(func(s *ImageSpec) { s.Name = strings.Repeat("b", 61) }), fault.Invalid, "variants.1.name"},
		{"no width", with(func(s *ImageSpec) { s.Width = -1 }), fault.Invalid, "variants.1.width"},
		{"a wide box", with(func(s *ImageSpec) { s.Width = 16385 }), fault.Invalid, "variants.1.width"},
		{"a high box", with(func(s *ImageSpec) { s.Height = 16385 }), fault.Invalid, "variants.1.height"},
		{"an open box to cover", with(func(s *ImageSpec) { s.Fit = imaging.Cover }), fault.Required, "variants.1.fit"},
		{"a quality of 101", with(func(s *ImageSpec) { s.Quality = 101 }), fault.Invalid, "variants.1.quality"},
		{"a PNG of a quality", with(func(s *ImageSpec) { s.Format = imaging.PNG }), fault.Invalid, "variants.1.quality"},
	} {
		got, ok := fault.As(checkVariants(c.variants))
		if !ok || got.Code != c.code || strings.Join(got.Field, ".") != c.field {
			t.Errorf("%s: got %+v, want %s of %s", c.name, got, c.code, c.field)
		}
	}
	all := []ImageSpec{good(""), good("thumb_1"), good(strings.Repeat("b", 60))}
	if err := checkVariants(all); err != nil || all[0].Name != "variant-1" {
		t.Errorf("good variants: %v, the first is called %q", err, all[0].Name)
	}
}

func TestWhatIsWrongWithAnImageIsToldInWords(t *testing.T) {
	for _, err := range []error{
		imaging.ErrUnsupported, imaging.ErrAnimated, imaging.ErrDamaged, imaging.ErrTooLarge, imaging.ErrTooManyScans, imaging.ErrOutputTooLarge,
	} {
		if f := imageFault(fmt.Errorf("read: %w", err)); f == nil || !f.Mendable() || len(f.Field) == 0 {
			t.Errorf("%v is told as %+v", err, f)
		}
	}
	if f := imageFault(errors.New("disk on fire")); f != nil {
		t.Errorf("an error of ours became the owner's: %v", f)
	}
}

func TestImagesWaitForMemory(t *testing.T) {
	m := newImageMemory(100)
	if _, err := m.take(t.Context(), 101); !fault.Is(err, fault.TooLarge) {
		t.Errorf("more than there is: %v, want it refused at once", err)
	}
	giveBack, err := m.take(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("cancelled by the owner")
	ctx, end := context.WithCancelCause(t.Context())
	waited := make(chan error)
	go func() {
		_, err := m.take(ctx, 60)
		waited <- err
	}()
	end(why)
	if err := <-waited; !errors.Is(err, why) {
		t.Errorf("gave up waiting with %v, want %v", err, why)
	}
	go func() {
		_, err := m.take(t.Context(), 60)
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Fatalf("took 120 of 100 bytes: %v", err)
	default:
	}
	giveBack()
	if err := <-waited; err != nil {
		t.Errorf("after memory was given back: %v", err)
	}
}

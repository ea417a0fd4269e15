package totp_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"github.com/boombuler/barcode/qr"

	"gatehouse/account/totp"
)

// picture decodes the image of a data URI.
func picture(t testing.TB, uri string) image.Image {
	t.Helper()
	text, isPNG := strings.CutPrefix(uri, "data:image/png;base64,")
	data, err := base64.StdEncoding.DecodeString(text)
	if !isPNG || err != nil {
		t.Fatalf("no data URI: %.40s: %v", uri, err)
	}
	decoded, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// isDark reports the colour of a pixel, which must be black or white.
func isDark(t testing.TB, picture image.Image, x, y int) bool {
	t.Helper()
	switch r, g, b, a := picture.At(x, y).RGBA(); [4]uint32{r, g, b, a} {
	case [4]uint32{0, 0, 0, 0xffff}:
		return true
	case [4]uint32{0xffff, 0xffff, 0xffff, 0xffff}:
		return false
	}
	t.Fatalf("pixel (%d,%d) is %v", x, y, picture.At(x, y))
	return false
}

func TestTheQRCodeHasItsModulesInBlackOnWhiteWithAQuietZone(t *testing.T) {
	for name, text := range map[string]string{
		"usual":   totp.New().URI("Gatehouse", "ada@example.com"),
		"longest": totp.New().URI("Gatehouse", strings.Repeat("x", 700)),
		"tiny":    "x",
	} {
		uri, err := totp.QR(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shown := picture(t, uri)
		want, err := qr.Encode(text, qr.M, qr.Auto)
		if err != nil {
			t.Fatal(err)
		}
		side, modules := shown.Bounds().Dx(), want.Bounds().Dx()+8
		if side < 256 || side > 512 || side != shown.Bounds().Dy() || side%modules != 0 {
			t.Fatalf("%s: image %v for %d modules", name, shown.Bounds(), modules)
		}
		scale := side / modules
		for y := range side {
			for x := range side {
				module := image.Pt(x/scale-4, y/scale-4)
				dark := module.In(want.Bounds()) && want.At(module.X, module.Y) == color.Black
				if isDark(t, shown, x, y) != dark {
					t.Fatalf("%s: pixel (%d,%d) dark %v, want %v", name, x, y, !dark, dark)
				}
			}
		}
		// The rows through the middle of a finder pattern are 1:1:3:1:1 (ISO/IEC 18004 §5.3.2.1).
		for i, wantDark := range []bool{true, false, true, true, true, false, true, false} {
			if isDark(t, shown, (4+i)*scale, (4+3)*scale) != wantDark {
				t.Errorf("%s: module %d of the finder pattern", name, i)
			}
		}
	}
}

func TestATextTooLongForAPhoneIsRefused(t *testing.T) {
	if _, err := totp.QR(strings.Repeat("x", 901)); !errors.Is(err, totp.ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
}

func BenchmarkQR(b *testing.B) {
	uri := totp.New().URI("Gatehouse", "ada@example.com")
	for b.Loop() {
		if _, err := totp.QR(uri); err != nil {
			b.Fatal(err)
		}
	}
}

package imaging

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"
)

// The files of the tests are made here, so that each byte of them is accounted for.

// secret stands in every piece of metadata.
const secret = "52.5200N-13.4050E"

var red, green, blue = color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 255, 0, 255}, color.NRGBA{0, 0, 255, 255}

// exif is a TIFF structure with an orientation, a text, and a directory of GPS with another.
func exif(o Orientation, order binary.AppendByteOrder) []byte {
	mark := "II*\x00"
	if order == binary.AppendByteOrder(binary.BigEndian) {
		mark = "MM\x00*"
	}
	b := order.AppendUint32([]byte(mark), 8)
	entry := func(tag, kind uint16, count, value uint32) {
		b = order.AppendUint16(order.AppendUint16(b, tag), kind)
		b = order.AppendUint32(order.AppendUint32(b, count), value)
	}
	const texts = 8 + 2 + 3*12 + 4 + 2 + 12 + 4
	b = order.AppendUint16(b, 3)
	entry(0x010e, 2, uint32(len(secret)), texts) // ImageDescription
	b = order.AppendUint16(order.AppendUint16(b, orientationTag), typeShort)
	b = order.AppendUint16(order.AppendUint16(order.AppendUint32(b, 1), uint16(o)), 0)
	entry(0x8825, 4, 1, 8+2+3*12+4) // GPS
	b = order.AppendUint16(order.AppendUint32(b, 0), 1)
	entry(0x001d, 2, uint32(len(secret)), texts) // GPSDateStamp
	return append(order.AppendUint32(b, 0), secret...)
}

// segment is a segment of a JPEG.
func segment(marker byte, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(content)+2)), content...)
}

// withSegments puts segments behind the start of a JPEG.
func withSegments(file []byte, segments ...[]byte) []byte {
	return append(append(bytes.Clone(file[:2]), bytes.Join(segments, nil)...), file[2:]...)
}

// camera is the JPEG with what a camera and its programs write beside the pixels.
func camera(file []byte, o Orientation) []byte {
	return withSegments(file,
		segment(appExif, append(bytes.Clone(exifPrefix), exif(o, binary.BigEndian)...)),
		segment(appExif, []byte("http://ns.adobe.com/xap/1.0/\x00<x>"+secret+"</x>")),
		segment(0xe2, []byte("ICC_PROFILE\x00\x01\x01"+secret)),
		segment(0xed, []byte("Photoshop 3.0\x00"+secret)),
		segment(0xfe, []byte(secret)))
}

// chunk is a chunk of a PNG.
func chunk(name string, content []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), name...)
	b = append(b, content...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// withChunks puts chunks behind the header of a PNG, and last before its end.
func withChunks(file []byte, last []byte, chunks ...[]byte) []byte {
	const header, end = 8 + 25, 12
	b := append(bytes.Clone(file[:header]), bytes.Join(chunks, nil)...)
	b = append(append(b, file[header:len(file)-end]...), last...)
	return append(b, file[len(file)-end:]...)
}

// pngHeader is a PNG that declares a size and holds nothing.
func pngHeader(width, height uint32) []byte {
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	return bytes.Join([][]byte{[]byte(pngMagic), chunk("IHDR", append(header, 8, 2, 0, 0, 0)), chunk("IEND", nil)}, nil)
}

// jpegFrame is a JPEG that declares a frame and holds nothing.
func jpegFrame(marker byte, width, height uint16, sampling ...byte) []byte {
	frame := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{8}, height), width)
	frame = append(frame, byte(len(sampling)))
	for i, s := range sampling {
		frame = append(frame, byte(i+1), s, 0)
	}
	return withSegments([]byte{0xff, 0xd8, 0xff, endOfImage}, segment(marker, frame))
}

// progressive is a grey JPEG in one scan of coefficients that all are 0. Its only code is the bit 0.
func progressive(width, height uint16) []byte {
	table := append([]byte{0, 1}, make([]byte, 15)...)
	blocks := (int(width) + 7) / 8 * ((int(height) + 7) / 8)
	file := withSegments(jpegFrame(frameProgressive, width, height, 0x11),
		segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)), segment(0xc4, append(table, 0)))
	end := len(file) - 2
	scan := append(segment(startOfScan, []byte{1, 1, 0, 0, 0, 0}), make([]byte, (blocks+7)/8)...)
	return append(append(bytes.Clone(file[:end]), scan...), file[end:]...)
}

// riff is a WebP of chunks, each a name and a content.
func riff(chunks ...any) []byte {
	b := []byte("WEBP")
	for i := 0; i < len(chunks); i += 2 {
		content := chunks[i+1].([]byte)
		b = binary.LittleEndian.AppendUint32(append(b, chunks[i].(string)...), uint32(len(content)))
		if b = append(b, content...); len(content)%2 == 1 {
			b = append(b, 0)
		}
	}
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(b))), b...)
}

// lossless is the content of a VP8L chunk of one colour: five codes of one symbol each, and no bit for
// the pixels (RFC 9649 §3).
func lossless(width, height uint32, c color.NRGBA) []byte {
	bits, n := uint64(0x2f), 8
	var b []byte
	put := func(value uint64, length int) {
		bits |= value << n
		for n += length; n >= 8; n -= 8 {
			b, bits = append(b, byte(bits)), bits>>8
		}
	}
	put(uint64(width-1), 14)
	put(uint64(height-1), 14)
	put(0, 1+3+1+1+1) // no alpha, version 0, no transform, no cache, one group
	for _, symbol := range []byte{c.G, c.R, c.B, c.A} {
		put(1|1<<2|uint64(symbol)<<3, 3+8)
	}
	put(1, 4) // the distances: the symbol 0
	put(0, 7)
	return append(b, 0)
}

// canvas is the content of a VP8X chunk.
func canvasOf(flags byte, width, height int) []byte {
	w, h := width-1, height-1
	return []byte{flags, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)}
}

func encodeJPEG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodePNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// animation is a GIF of 4 × 4 pixels whose first frame is a red point at (1, 2), and whose second is blue.
func animation(t testing.TB) []byte {
	t.Helper()
	palette := color.Palette{red, blue}
	second := image.NewPaletted(image.Rect(0, 0, 4, 4), palette)
	for i := range second.Pix {
		second.Pix[i] = 1
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &gif.GIF{
		Image: []*image.Paletted{image.NewPaletted(image.Rect(1, 2, 2, 3), palette), second},
		Delay: []int{1, 1}, Config: image.Config{ColorModel: palette, Width: 4, Height: 4},
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plain is an image of one colour.
func plain(width, height int, c color.Color) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, c)
		}
	}
	return m
}

// pattern is an image that is different everywhere, half of it more or less transparent.
func pattern(width, height int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.SetNRGBA(x, y, color.NRGBA{byte(x * 3), byte(y * 5), byte(x + y), byte(255 - max(0, x-width/2))})
		}
	}
	return m
}

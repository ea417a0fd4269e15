package imaging

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxScans bounds the passes of a JPEG. Encoders make about ten.
const maxScans = 100

// The markers of a JPEG (ITU-T T.81, table B.1).
const (
	frameBaseline    = 0xc0
	frameExtended    = 0xc1
	frameProgressive = 0xc2
	restartFirst     = 0xd0
	restartLast      = 0xd7
	endOfImage       = 0xd9
	startOfScan      = 0xda
	appExif          = 0xe1
	appAdobe         = 0xee
)

var exifPrefix = []byte("Exif\x00\x00")

// inspectJPEG walks over all segments up to the end of the image. It skips what image/jpeg skips, so
// that both see the same ones.
func inspectJPEG(r *bufio.Reader) (Header, error) {
	j := jpegWalk{header: Header{Format: JPEG, Orientation: Upright}}
	if _, err := r.Discard(2); err != nil { // the start of the image
		return Header{}, err
	}
	for {
		marker, err := nextMarker(r)
		if err != nil {
			return Header{}, err
		}
		if marker == endOfImage {
			break
		}
		if restartFirst <= marker && marker <= restartLast {
			continue
		}
		if err := j.segment(r, marker); err != nil {
			return Header{}, err
		}
	}
	if j.header.memory = j.memory(); j.components == 0 {
		return Header{}, fmt.Errorf("%w: no frame", ErrDamaged)
	}
	return j.header, nil
}

// jpegWalk is what the segments of a JPEG have told so far.
type jpegWalk struct {
	header      Header
	exif        bool // seen
	progressive bool
	components  int
	samples     int  // of a block of the first component and its share of the others
	first       int  // those of the first component alone
	rgb         bool // stored as RGB, which is converted
	scans       int
}

// nextMarker skips to the next marker and returns its second byte. Stuffed zeros and fill bytes are
// skipped (§B.1.1.2, §B.1.1.5).
func nextMarker(r *bufio.Reader) (byte, error) {
	for {
		_, err := r.ReadSlice(0xff)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return 0, err
		}
		marker := byte(0xff)
		for marker == 0xff {
			if marker, err = r.ReadByte(); err != nil {
				return 0, err
			}
		}
		if marker != 0 {
			return marker, nil
		}
	}
}

// segment reads the segment of marker, whose length is at most 64 KiB.
func (j *jpegWalk) segment(r *bufio.Reader, marker byte) error {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(length[:])) - 2
	if n < 0 {
		return fmt.Errorf("%w: a segment of no length", ErrDamaged)
	}
	switch marker {
	case frameBaseline, frameExtended, frameProgressive, appExif, appAdobe:
		content := make([]byte, n)
		if _, err := io.ReadFull(r, content); err != nil {
			return err
		}
		return j.content(marker, content)
	case startOfScan:
		if j.scans++; j.scans > maxScans {
			return ErrTooManyScans
		}
	}
	_, err := r.Discard(n)
	return err
}

func (j *jpegWalk) content(marker byte, content []byte) error {
	switch {
	case marker == appExif:
		if tiff, is := bytes.CutPrefix(content, exifPrefix); is && !j.exif {
			j.exif, j.header.Orientation = true, orientationOf(tiff)
		}
		return nil
	case marker == appAdobe:
		j.rgb = j.rgb || len(content) >= 12 && string(content[:5]) == "Adobe" && content[11] == 0
		return nil
	}
	j.progressive = marker == frameProgressive
	return j.frame(content)
}

// frame reads the header of the only frame (§B.2.2).
func (j *jpegWalk) frame(content []byte) error {
	if j.components != 0 || len(content) < 6 || len(content) != 6+3*int(content[5]) || content[5] == 0 {
		return fmt.Errorf("%w: its frame", ErrDamaged)
	}
	j.header.Height, j.header.Width = int(binary.BigEndian.Uint16(content[1:])), int(binary.BigEndian.Uint16(content[3:]))
	j.components = int(content[5])
	var names []byte
	for c := range j.components {
		names = append(names, content[6+3*c])
		sampling := content[7+3*c]
		samples := int(sampling>>4) * int(sampling&0x0f)
		if samples == 0 {
			return fmt.Errorf("%w: its sampling", ErrDamaged)
		}
		if c == 0 {
			j.first = samples
		}
		j.samples += samples
	}
	j.rgb = j.rgb || string(names) == "RGB"
	return j.header.bounded()
}

// memory is a byte for each sample, four more for each where coefficients are gathered over many
// scans, and four for each pixel where the result is not what was stored.
func (j *jpegWalk) memory() int64 {
	if j.components == 0 {
		return 0
	}
	pixels := padded(j.header.Width, 32) * padded(j.header.Height, 32)
	each := int64(1)
	if j.progressive {
		each += 4
	}
	bytes := pixels * int64(j.samples) / int64(j.first) * each
	if j.components == 4 || j.rgb {
		bytes += 4 * pixels
	}
	return bytes
}

// padded returns side rounded up to a multiple of block, as decoders work in blocks.
func padded(side, block int) int64 { return int64((side + block - 1) / block * block) }

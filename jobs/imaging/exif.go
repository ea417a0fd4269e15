package imaging

import "encoding/binary"

// Orientation says where the first row and column of the stored image stand when it is shown (EXIF
// 2.32 §4.6.4 A, tag Orientation).
type Orientation int

// Upright is the orientation of an image that is shown as it is stored. The others go up to 8.
const (
	Upright         Orientation = 1
	lastOrientation Orientation = 8
)

// swapped tells whether rows are shown as columns.
func (o Orientation) swapped() bool { return o >= 5 }

// mirroredX tells whether the stored x runs backwards when it is shown, as x or as y.
func (o Orientation) mirroredX() bool { return o == 2 || o == 3 || o == 7 || o == 8 }

// mirroredY is mirroredX for the stored y.
func (o Orientation) mirroredY() bool { return o == 3 || o == 4 || o == 6 || o == 7 }

// turn returns the sides of a stored image as they are shown, and those of a shown one as they are stored.
func (o Orientation) turn(width, height int) (int, int) {
	if o.swapped() {
		return height, width
	}
	return width, height
}

// The parts of a TIFF directory (EXIF 2.32 §4.6.2).
const (
	entryBytes     = 12
	orientationTag = 0x0112
	typeShort      = 3
)

// orientationOf returns the orientation that the first directory of a TIFF structure names; Upright
// when there is none or none that can be read. Nobody needs a picture refused for that.
func orientationOf(tiff []byte) Orientation {
	if len(tiff) < 8 {
		return Upright
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return Upright
	}
	at := int64(order.Uint32(tiff[4:]))
	if at > int64(len(tiff))-2 {
		return Upright
	}
	directory := tiff[at:]
	entries := int(order.Uint16(directory))
	for directory = directory[2:]; entries > 0 && len(directory) >= entryBytes; entries-- {
		if order.Uint16(directory) == orientationTag {
			return orientationIn(directory[:entryBytes], order)
		}
		directory = directory[entryBytes:]
	}
	return Upright
}

// orientationIn reads the directory's entry: tag, type, count and, as it fits, the value.
func orientationIn(entry []byte, order binary.ByteOrder) Orientation {
	value := Orientation(order.Uint16(entry[8:]))
	if order.Uint16(entry[2:]) != typeShort || order.Uint32(entry[4:]) != 1 || value < Upright || value > lastOrientation {
		return Upright
	}
	return value
}

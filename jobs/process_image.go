package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/jobs/imaging"
	"gatehouse/queue"
)

// ImageArgs are the arguments of processImage.
type ImageArgs struct {
	Variants []ImageSpec `json:"variants"`
}

// ImageSpec is one variant that is asked for; its file is called by its name.
type ImageSpec struct {
	Name string `json:"name"`
	imaging.Spec
}

// fileName is the name of the variant's artifact.
func (s ImageSpec) fileName() string { return imageFile(s.Name, s.Format) }

func imageFile(name string, f imaging.Format) string {
	if f == imaging.PNG {
		return name + ".png"
	}
	return name + ".jpg"
}

func (s ImageSpec) mediaType() string {
	if s.Format == imaging.PNG {
		return "image/png"
	}
	return "image/jpeg"
}

// ImageSet is what processImage brings.
type ImageSet struct {
	Original ImageOriginal  `json:"original"`
	Variants []ImageVariant `json:"variants"`
}

// ImageOriginal is what the file was. Width and Height are those of the upright image.
type ImageOriginal struct {
	Format      imaging.Format      `json:"format"`
	Width       int                 `json:"width"`
	Height      int                 `json:"height"`
	Bytes       int64               `json:"bytes"`
	Orientation imaging.Orientation `json:"orientation"`
}

// ImageVariant is one image that was made.
type ImageVariant struct {
	Name   string         `json:"name"`
	Format imaging.Format `json:"format"`
	Width  int            `json:"width"`
	Height int            `json:"height"`
	Bytes  int64          `json:"bytes"`

	Job queue.ID `json:"-"` // filled in by who reads the result
}

// FileName is the name of its artifact.
func (v ImageVariant) FileName() string { return imageFile(v.Name, v.Format) }

// Image is the kind processImage: it makes resized copies of an image, upright and without metadata.
// Progress counts variants. It may run twice: its files are kept only with its result.
var Image = queue.Kind[ImageArgs, ImageSet]{
	Name:        "processImage",
	Description: "Makes resized copies of an image, upright and without its metadata.",
	MaxAttempts: 4,
	Deadline:    15 * time.Minute,
	Arguments:   readImageArguments,
	File:        "file",
	NeedsFile:   true,
}

// readImageArguments reads the input of the mutation with a file that another step has made. What the image is
// shows when it is worked on.
func readImageArguments(input json.RawMessage) (ImageArgs, error) {
	given, err := readArguments[struct {
		File     *madeFile   `json:"file"`
		Variants []ImageSpec `json:"variants"`
	}](input)
	if err != nil {
		return ImageArgs{}, err
	}
	if given.File == nil {
		return ImageArgs{}, fault.New(fault.Required, "file", "Give the file of another step.")
	}
	for i := range given.Variants {
		v := &given.Variants[i]
		v.Fit, v.Format = cmp.Or(v.Fit, imaging.Inside), cmp.Or(v.Format, imaging.JPEG)
	}
	return ImageArgs{given.Variants}, checkVariants(given.Variants)
}

// The bounds of what may be asked for.
const (
	maxVariants  = 20
	maxQuality   = 100
	maxNameBytes = 60
)

// defaultImageMemory is how many bytes all images that a process works on take together. It is enough
// for any image of 50 megapixels but the rarest: progressive ones in full colour or in CMYK.
const defaultImageMemory = 768 << 20

// imageMemory lets jobs work on images as long as they fit into it together; the others wait.
type imageMemory struct {
	bytes int64
	taken *semaphore.Weighted
}

func newImageMemory(bytes int64) *imageMemory {
	if bytes == 0 {
		bytes = defaultImageMemory
	}
	return &imageMemory{bytes, semaphore.NewWeighted(bytes)}
}

// take waits until there is room for bytes, and refuses what never has room.
func (m *imageMemory) take(ctx context.Context, bytes int64) (giveBack func(), err error) {
	if bytes > m.bytes {
		return nil, queue.Permanent(fault.New(fault.TooLarge, "file", "The image takes more memory than there is for one image."))
	}
	if err := m.taken.Acquire(ctx, bytes); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { m.taken.Release(bytes) }, nil
}

// processesImages returns Image with its handler.
func processesImages(memory *imageMemory) queue.Definition {
	kind := Image
	kind.Handle = func(ctx context.Context, run *queue.Run, args ImageArgs) (ImageSet, error) {
		inputs, err := run.Inputs(ctx)
		if err != nil {
			return ImageSet{}, err
		}
		if len(inputs) != 1 {
			return ImageSet{}, queue.Permanent(fmt.Errorf("the job has %d input files", len(inputs)))
		}
		content, err := run.Open(ctx, inputs[0])
		if err != nil {
			return ImageSet{}, err
		}
		defer content.Close()
		set, err := processImage(ctx, run, memory, content, inputs[0].Bytes, args)
		if refused := imageFault(err); refused != nil {
			return set, queue.Permanent(refused) // another attempt would not help
		}
		return set, err
	}
	return kind.Define()
}

func processImage(ctx context.Context, run *queue.Run, memory *imageMemory, content io.ReadSeeker, bytes int64, args ImageArgs) (ImageSet, error) {
	header, plan, err := planImage(content, bytes, args)
	if err != nil {
		return ImageSet{}, err
	}
	all := int64(len(args.Variants))
	run.Report(0, all, "waiting for memory")
	giveBack, err := memory.take(ctx, plan.Memory())
	if err != nil {
		return ImageSet{}, err
	}
	defer giveBack()
	run.Report(0, all, "reading")
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return ImageSet{}, err
	}
	picture, err := plan.Decode(ctx, content)
	if err != nil {
		return ImageSet{}, err
	}
	width, height := header.Size()
	set := ImageSet{Original: ImageOriginal{header.Format, width, height, bytes, header.Orientation}}
	for i, spec := range args.Variants {
		run.Report(int64(i), all, "making "+spec.Name)
		written, err := makeVariant(ctx, run, picture, i, spec)
		if err != nil {
			return ImageSet{}, err
		}
		width, height := plan.Size(i)
		set.Variants = append(set.Variants, ImageVariant{Name: spec.Name, Format: spec.Format, Width: width, Height: height, Bytes: written})
	}
	run.Report(all, all, "done")
	return set, nil
}

// makeVariant writes a variant to a file of the job and returns its size in bytes.
func makeVariant(ctx context.Context, run *queue.Run, picture *imaging.Picture, i int, spec ImageSpec) (int64, error) {
	file, err := run.Create(ctx, spec.fileName(), spec.mediaType())
	if err != nil {
		return 0, err
	}
	counted := &counter{Writer: file}
	err = picture.Render(ctx, i, counted)
	return counted.bytes, err
}

// counter counts what is written.
type counter struct {
	io.Writer
	bytes int64
}

func (c *counter) Write(content []byte) (int, error) {
	n, err := c.Writer.Write(content)
	c.bytes += int64(n)
	return n, err
}

// planImage reads the header of the image and works out what shall be made of it.
func planImage(content io.Reader, bytes int64, args ImageArgs) (imaging.Header, imaging.Plan, error) {
	header, err := imaging.Inspect(content, bytes)
	if err != nil {
		return header, imaging.Plan{}, err
	}
	specs := make([]imaging.Spec, len(args.Variants))
	for i, v := range args.Variants {
		specs[i] = v.Spec
	}
	plan, err := imaging.NewPlan(header, specs)
	return header, plan, err
}

// CheckImage returns a fault for arguments that no job can meet and for a file that is no image of
// ours, from its header alone. Variants without a name get one.
func CheckImage(ctx context.Context, files *blob.Store, upload *blob.Upload, args *ImageArgs) error {
	if err := checkVariants(args.Variants); err != nil {
		return err
	}
	if upload.Bytes == 0 {
		return fault.New(fault.EmptyFile, "file", "The file is empty.")
	}
	content, _, err := files.Open(ctx, upload.Key)
	if err != nil {
		return err
	}
	defer content.Close()
	_, _, err = planImage(content, upload.Bytes, *args)
	if refused := imageFault(err); refused != nil {
		return refused
	}
	return err
}

func checkVariants(variants []ImageSpec) error {
	if len(variants) == 0 {
		return fault.New(fault.Required, "variants", "Ask for at least one variant.")
	}
	if len(variants) > maxVariants {
		return fault.New(fault.TooLarge, "variants", "Ask for at most 20 variants.")
	}
	taken := map[string]bool{}
	for i := range variants {
		v := &variants[i]
		if v.Name == "" {
			v.Name = "variant-" + strconv.Itoa(i+1)
		}
		field, refused := v.check()
		if refused == nil && taken[v.Name] {
			field, refused = "name", fault.Conflict("", "Two variants have this name.")
		}
		if refused != nil {
			refused.Field = []string{"variants", strconv.Itoa(i), field}
			return refused
		}
		taken[v.Name] = true
	}
	return nil
}

// check returns what is wrong with the variant, and in which of its fields.
func (s *ImageSpec) check() (field string, _ *fault.Fault) {
	switch {
	case !variantName(s.Name):
		return "name", fault.New(fault.Invalid, "", "A name has 1 to 60 letters a to z, digits, - and _, and begins with a letter or digit.")
	case !slices.Contains([]imaging.Fit{imaging.Inside, imaging.Cover, imaging.Contain}, s.Fit):
		return "fit", fault.New(fault.Invalid, "", "A fit is INSIDE, COVER or CONTAIN.")
	case s.Format != imaging.JPEG && s.Format != imaging.PNG:
		return "format", fault.New(fault.Invalid, "", "A format is JPEG or PNG.")
	case s.Width < 0 || s.Width > imaging.MaxSide:
		return "width", fault.New(fault.Invalid, "", "A width is 1 to 16384 pixels.")
	case s.Height < 0 || s.Height > imaging.MaxSide:
		return "height", fault.New(fault.Invalid, "", "A height is 1 to 16384 pixels.")
	case s.Fit != imaging.Inside && (s.Width == 0 || s.Height == 0):
		return "fit", fault.New(fault.Required, "", "COVER and CONTAIN need a width and a height.")
	case s.Quality < 0 || s.Quality > maxQuality:
		return "quality", fault.New(fault.Invalid, "", "A quality is 1 to 100.")
	case s.Quality != 0 && s.Format != imaging.JPEG:
		return "quality", fault.New(fault.Invalid, "", "Only a JPEG has a quality.")
	}
	return "", nil
}

// variantName reports whether a variant may have that name, which becomes the name of a file.
func variantName(name string) bool {
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxNameBytes
}

// imageFault turns what cannot be read or made into words for the owner; nil when err is ours.
func imageFault(err error) *fault.Fault {
	for _, c := range []struct {
		is    error
		code  fault.Code
		field string
		say   string
	}{
		{imaging.ErrUnsupported, fault.UnsupportedFile, "file", "The file is no JPEG, PNG, GIF or WebP image."},
		{imaging.ErrAnimated, fault.UnsupportedFile, "file", "The file is an animated WebP, which is not read."},
		{imaging.ErrDamaged, fault.UnsupportedFile, "file", "The image is damaged or cut off."},
		{imaging.ErrTooLarge, fault.TooLarge, "file", "An image has at most 50 megapixels, 16384 pixels a side and 128 MiB."},
		{imaging.ErrTooManyScans, fault.TooLarge, "file", "The JPEG has more than 100 scans."},
		{imaging.ErrOutputTooLarge, fault.TooLarge, "variants", "A variant has at most 50 megapixels and 16384 pixels a side; all together have at most 100 megapixels."},
	} {
		if errors.Is(err, c.is) {
			return fault.New(c.code, c.field, c.say).With(err)
		}
	}
	return nil
}

package e2e

import (
	"bytes"
	numbers "encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"mime/multipart"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

type imageSet struct {
	Original struct {
		Format                            string
		Width, Height, Bytes, Orientation int
	}
	Variants []imageVariant
}

type imageVariant struct {
	Name, Format         string
	Width, Height, Bytes int
	Artifact             artifact
}

const imageDocument = `mutation($in: ProcessImageInput!) { processImage(input: $in) { job ` + jobFields + ` userErrors { code field message } } }`

type imageProcessed struct {
	ProcessImage struct {
		Job        *job
		UserErrors []userError
	}
}

// tryImage uploads an image.
func (c *client) tryImage(file []byte, variants ...vars) answer {
	c.t.Helper()
	operations, err := json.Marshal(map[string]any{"query": imageDocument, "variables": vars{"in": vars{"file": nil, "variants": variants}}})
	if err != nil {
		c.t.Fatal(err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := writeForm(form, operations, bytes.NewReader(file)); err != nil {
		c.t.Fatal(err)
	}
	a, err := c.postForm(form.FormDataContentType(), &body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// processImage uploads an image of which a job must be made.
func (c *client) processImage(file []byte, variants ...vars) job {
	c.t.Helper()
	got := into[imageProcessed](c.t, c.tryImage(file, variants...)).ProcessImage
	if got.Job == nil {
		c.t.Fatalf("no job: %+v", got)
	}
	return *got.Job
}

// images reads what a job has made of an image.
func (c *client) images(id string) imageSet {
	c.t.Helper()
	return ask[struct{ Job struct{ Result imageSet } }](c, `query($id: ID!) { job(id: $id) { result { ... on ImageSet {
		original { format width height bytes orientation }
		variants { name format width height bytes artifact { id name mediaType bytes sha256 url expiresAt } } } } } }`, vars{"id": id}).Job.Result
}

// flag is an image of four quarters.
func flag(width, height int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i, c := range []color.NRGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {255, 255, 255, 255}} {
		x, y := i%2*width/2, i/2*height/2
		draw.Draw(m, image.Rect(x, y, x+width/2, y+height/2), image.NewUniform(c), image.Point{}, draw.Src)
	}
	return m
}

const whereabouts = "52.5200N 13.4050E"

// photograph is a JPEG that lies on its right side and tells where it was taken.
func photograph(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	exif := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" +
		"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + // orientation 6
		"\x88\x25\x00\x04\x00\x00\x00\x01\x00\x00\x00\x26" + // GPS at 38
		"\x00\x00\x00\x00" + "\x00\x01\x00\x1d\x00\x02\x00\x00\x00\x11\x00\x00\x00\x38\x00\x00\x00\x00" + whereabouts)
	segment := append(numbers.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(exif)+2)), exif...)
	return append(append(bytes.Clone(b.Bytes()[:2]), segment...), b.Bytes()[2:]...)
}

func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAnImageIsMadeIntoUprightVariantsWithoutMetadata(t *testing.T) {
	t.Parallel()
	file := append(photograph(t, flag(640, 480)), "<script>PK\x03\x04"...) // it could be a page or an archive too
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		other := c.at(last(d.servers))
		j := c.processImage(file,
			vars{"name": "thumb", "width": 100, "height": 100, "fit": "COVER", "format": "PNG"},
			vars{"width": 240, "quality": 60}, vars{"name": "large", "width": 9000, "height": 9000})
		events := follow(t, other.watchSocket(j.ID, nil))
		if e := last(events); e.Job.State != "SUCCEEDED" {
			t.Fatalf("the job ended with %+v", e)
		}
		if done := other.job(j.ID); done.Progress.Done != 3 || done.Progress.Total != 3 || done.Kind != "processImage" || len(done.Artifacts) != 3 {
			t.Errorf("done is %+v", done)
		}
		set := other.images(j.ID)
		if got, want := fmt.Sprintf("%+v", set.Original), fmt.Sprintf("{Format:JPEG Width:480 Height:640 Bytes:%d Orientation:6}", len(file)); got != want {
			t.Errorf("the original was %s, want %s", got, want)
		}
		for i, want := range []imageVariant{
			{"thumb", "PNG", 100, 100, 0, artifact{Name: "thumb.png", MediaType: "image/png"}},
			{"variant-2", "JPEG", 240, 320, 0, artifact{Name: "variant-2.jpg", MediaType: "image/jpeg"}},
			{"large", "JPEG", 480, 640, 0, artifact{Name: "large.jpg", MediaType: "image/jpeg"}},
		} {
			got := set.Variants[i]
			if got.Name != want.Name || got.Format != want.Format || got.Width != want.Width || got.Height != want.Height ||
				got.Artifact.Name != want.Artifact.Name || got.Artifact.MediaType != want.Artifact.MediaType || int64(got.Bytes) != got.Artifact.Bytes {
				t.Errorf("variant %d is %+v, want %+v", i, got, want)
			}
			checkFlag(t, got, other.fetch(got.Artifact))
		}
	})
}

// checkFlag checks that content is the flag turned to the right, and no more than that.
func checkFlag(t *testing.T, v imageVariant, content []byte) {
	t.Helper()
	m, format, err := image.Decode(bytes.NewReader(content))
	if err != nil || strings.ToUpper(format) != v.Format || m.Bounds().Size() != image.Pt(v.Width, v.Height) {
		t.Fatalf("%s is a %s of %v, %v", v.Name, format, m.Bounds(), err)
	}
	for i, want := range []color.NRGBA{{0, 0, 255, 255}, {255, 0, 0, 255}, {255, 255, 255, 255}, {0, 255, 0, 255}} {
		r, g, b, _ := m.At(v.Width/4+i%2*v.Width/2, v.Height/4+i/2*v.Height/2).RGBA()
		for n, off := range []int{int(r>>8) - int(want.R), int(g>>8) - int(want.G), int(b>>8) - int(want.B)} {
			if off > 12 || off < -12 {
				t.Errorf("quarter %d of %s is off by %d in channel %d", i, v.Name, off, n)
			}
		}
	}
	for _, trace := range []string{whereabouts, "Exif", "<script>", "PK\x03\x04"} {
		if bytes.Contains(content, []byte(trace)) {
			t.Errorf("%s still has %q", v.Name, trace)
		}
	}
}

func TestWhatIsNoImageIsRefusedBeforeAJobIsMade(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	photo, drawing := photograph(t, flag(64, 48)), pngOf(t, flag(64, 48))
	one := vars{"width": 10}
	for _, row := range []struct {
		name     string
		file     []byte
		variants []vars
		code     string
		field    string
	}{
		{"nothing", nil, []vars{one}, "EMPTY_FILE", "file"},
		{"a text", []byte("a,b\n1,2\n"), []vars{one}, "UNSUPPORTED_FILE", "file"},
		{"a page that begins like a JPEG", []byte("\xff\xd8\xff<html><script>alert(1)</script>"), []vars{one}, "UNSUPPORTED_FILE", "file"},
		{"half a JPEG", photo[:len(photo)/2], []vars{one}, "UNSUPPORTED_FILE", "file"},
		{"half a PNG", drawing[:len(drawing)/2], []vars{one}, "UNSUPPORTED_FILE", "file"},
		{"a PNG of 100,000 × 100,000", bomb(drawing), []vars{one}, "TOO_LARGE", "file"},
		{"no variant", drawing, []vars{}, "REQUIRED", "variants"},
		{"a width of 0", drawing, []vars{one, {"width": 0}}, "INVALID", "variants.1.width"},
		{"variants of 200 megapixels", drawing, []vars{
			{"width": 7000, "height": 7000, "fit": "CONTAIN"}, {"width": 7000, "height": 7000, "fit": "CONTAIN"}, {"width": 7000, "height": 7000, "fit": "CONTAIN"},
		}, "TOO_LARGE", "variants"},
	} {
		a := c.tryImage(row.file, row.variants...)
		var got struct {
			ProcessImage struct{ UserErrors []userError }
		}
		if err := json.Unmarshal(a.Data, &got); err != nil || len(got.ProcessImage.UserErrors) != 1 {
			t.Errorf("%s: %v, %v", row.name, a, err)
			continue
		}
		if e := got.ProcessImage.UserErrors[0]; e.Code != row.code || strings.Join(e.Field, ".") != row.field {
			t.Errorf("%s: got %+v, want %s of %s", row.name, e, row.code, row.field)
		}
	}
	if a := with(c, "").tryImage(drawing, one); a.status != 401 {
		t.Errorf("a stranger's image: %v", a)
	}
	if n := c.list(vars{}).TotalCount; n != 0 {
		t.Errorf("%d jobs were made", n)
	}
	d.awaitNoFiles()

	drawing[len(drawing)/2] ^= 0xff
	if j := c.awaitState(c.processImage(drawing, one).ID, "FAILED"); j.Error == nil || j.Error.Code != "UNSUPPORTED_FILE" || j.Attempt != 1 || len(j.Artifacts) != 0 {
		t.Errorf("a PNG with a wrong sum failed with %+v in attempt %d", j.Error, j.Attempt)
	}
}

// bomb is the PNG with another size in its header.
func bomb(file []byte) []byte {
	b := bytes.Clone(file)
	numbers.BigEndian.PutUint32(b[16:], 100_000)
	numbers.BigEndian.PutUint32(b[20:], 100_000)
	numbers.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

// TestTenImagesAtOnceStayWithinTheirMemory gives ten workers room for one image of 50 MB: without the
// bound they would hold 500 MB.
func TestTenImagesAtOnceStayWithinTheirMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has its own memory")
	}
	t.Parallel()
	const budget, most = 64, 300 // MiB; what the collector has not yet seen counts too
	d := newDeployment(t, []string{"--image-memory-bytes", strconv.Itoa(budget << 20)})
	d.database = "sqlite:" + d.data + "/gatehouse.db"
	d.watchSecrets()
	server := d.addServer("--workers", "10")
	c := d.person()
	file := pngOf(t, flag(4000, 3000))
	var jobs []job
	for range 10 {
		jobs = append(jobs, c.processImage(file, vars{"width": 200}))
	}
	for _, j := range jobs {
		c.awaitState(j.ID, "SUCCEEDED")
	}
	peak := peakMemory(t, server)
	t.Logf("ten images of 12 megapixels at once: peak %d MiB", peak)
	if peak > most {
		t.Errorf("the server held %d MiB, want at most %d", peak, most)
	}
	if j := c.awaitState(c.processImage(pngOf(t, flag(5000, 4000)), vars{"width": 200}).ID, "FAILED"); j.Error == nil || j.Error.Code != "TOO_LARGE" || j.Attempt != 1 {
		t.Errorf("an image that never has room failed with %+v in attempt %d", j.Error, j.Attempt)
	}
}

// peakMemory is the most that a process has had resident, in MiB.
func peakMemory(t *testing.T, p *process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kilobytes, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes >> 10
}

// Package agent reads from a User-Agent header which browser on which system, or which program, sent
// it, without any version: what stays the same while a person keeps their machine up to date.
//
// The header is the client's word. It tells honest devices apart and makes a copied token stand out;
// whoever wants to can copy the header too.
//
// # Bounds
//
// Of a header the first 200 bytes are read; a program's name has at most 40 characters: letters,
// digits and -_. only.
package agent

import "strings"

// Bounds, in bytes.
const (
	maxHeader = 200
	maxName   = 40
)

// unknown is the browser of a header that begins like a browser's and names none that we know.
const unknown = "Unknown browser"

// Family is a browser on a system, or a program. The zero value is a client that said nothing.
type Family struct {
	Name    string // "Firefox", "curl"
	System  string // "Windows"; "" when not told
	Browser bool   // else a program: an app, a library, a command
}

// mark is a text in a header, and what it tells.
type mark struct{ text, name string }

// browsers are looked for in this order: most browsers also carry the marks of those whose pages they
// want to be given.
var browsers = []mark{
	{"Electron/", "Electron"},
	{"SamsungBrowser/", "Samsung Internet"},
	{"EdgA/", "Edge"},
	{"EdgiOS/", "Edge"},
	{"Edg/", "Edge"},
	{"Edge/", "Edge"},
	{"OPR/", "Opera"},
	{"OPT/", "Opera"},
	{"OPX/", "Opera"},
	{"Opera", "Opera"},
	{"Vivaldi/", "Vivaldi"},
	{"YaBrowser/", "Yandex Browser"},
	{"UCBrowser/", "UC Browser"},
	{"DuckDuckGo/", "DuckDuckGo"},
	{"Ddg/", "DuckDuckGo"},
	{"FxiOS/", "Firefox"},
	{"Focus/", "Firefox Focus"},
	{"Firefox/", "Firefox"},
	{"HeadlessChrome/", "Headless Chrome"},
	{"; wv)", "WebView"},
	{"CriOS/", "Chrome"},
	{"Chrome/", "Chrome"},
	{"Chromium/", "Chrome"},
	{"MSIE ", "Internet Explorer"},
	{"Trident/", "Internet Explorer"},
	{"Safari/", "Safari"},
	{"AppleWebKit/", "WebView"}, // an app of iOS that shows a page
}

// systems are looked for in this order: Android says Linux too, an iPhone Mac OS X.
var systems = []mark{
	{"iPhone", "iOS"},
	{"iPod", "iOS"},
	{"iPad", "iPadOS"},
	{"Android", "Android"},
	{"CrOS", "ChromeOS"},
	{"Windows", "Windows"},
	{"Macintosh", "macOS"},
	{"Darwin/", "Apple"}, // a program of macOS or iOS
	{"Linux", "Linux"},
	{"X11", "Unix"},
}

// Of returns the family of a User-Agent header (RFC 9110 §10.1.5).
func Of(header string) Family {
	header = strings.TrimSpace(header)
	if len(header) > maxHeader {
		header = header[:maxHeader]
	}
	if header == "" {
		return Family{}
	}
	f := Family{Name: first(header, browsers), System: first(header, systems)}
	if product := product(header); product != "Mozilla" && product != "Opera" {
		f.Name = product // a program may name the engine it is built on
		return f
	}
	f.Browser = true
	if f.Name == "" {
		f.Name = unknown
	}
	return f
}

// String returns the family for people: "Firefox on Windows", "curl"; "" for the zero Family.
func (f Family) String() string {
	if f.System == "" {
		return f.Name
	}
	return f.Name + " on " + f.System
}

// first returns the name of the first mark that stands in header.
func first(header string, marks []mark) string {
	for _, m := range marks {
		if strings.Contains(header, m.text) {
			return m.name
		}
	}
	return ""
}

// product returns the name with which the header begins, without its version.
func product(header string) string {
	end := strings.IndexAny(header, "/ (;,")
	if end < 0 {
		end = len(header)
	}
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c) {
			return c
		}
		return -1
	}, header[:min(end, maxName)])
	if name == "" {
		return "Unknown program"
	}
	return name
}

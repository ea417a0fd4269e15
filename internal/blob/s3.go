package blob

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// S3 says where a bucket is and who we are there.
type S3 struct {
	Endpoint  string // HOST or HOST:PORT
	TLS       bool
	Region    string
	Bucket    string
	Prefix    string // begins all names; "" or ending with a slash
	PathStyle bool   // the bucket's name stands in the path, not in the host
	AccessKey string
	SecretKey string
	Patience  time.Duration // how long no byte may move before a request is given up; zero: 30 s
}

const (
	defaultRegion   = "us-east-1"
	defaultPatience = 30 * time.Second
	maxPrefixBytes  = 512
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixText = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9_.-]*/)*$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
)

// ParseS3 reads s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION&path-style=true. Without endpoint
// the bucket is Amazon's; without region it is in us-east-1; path-style is true where there is an endpoint
// unless it says false. Keys are no part of it: a text with a user or a password is refused.
func ParseS3(text string) (S3, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return S3{}, errors.New("write s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION, without keys")
	}
	o := S3{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), TLS: true}
	if !bucketName.MatchString(o.Bucket) {
		return S3{}, fmt.Errorf("%q is no name of a bucket", o.Bucket)
	}
	if o.Prefix != "" {
		o.Prefix += "/"
	}
	if !prefixText.MatchString(o.Prefix) || len(o.Prefix) > maxPrefixBytes {
		return S3{}, fmt.Errorf("the prefix %q has something else than letters, digits, dots, hyphens, underscores and slashes", o.Prefix)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return S3{}, errors.New("its query cannot be read")
	}
	return o, o.readQuery(query)
}

func (o *S3) readQuery(query url.Values) error {
	for name, values := range query {
		if len(values) != 1 || name != "endpoint" && name != "region" && name != "path-style" {
			return fmt.Errorf("%q is none of endpoint, region and path-style, or stands there twice", name)
		}
	}
	o.Region = defaultRegion
	if query.Has("region") {
		o.Region = query.Get("region")
	}
	if !regionName.MatchString(o.Region) {
		return fmt.Errorf("%q is no region", o.Region)
	}
	o.Endpoint = "s3." + o.Region + ".amazonaws.com"
	if query.Has("endpoint") {
		if err := o.readEndpoint(query.Get("endpoint")); err != nil {
			return err
		}
	}
	if query.Has("path-style") {
		var err error
		if o.PathStyle, err = strconv.ParseBool(query.Get("path-style")); err != nil {
			return errors.New("path-style is neither true nor false")
		}
	}
	return nil
}

func (o *S3) readEndpoint(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the endpoint %q is no https://HOST[:PORT]", redacted(u))
	}
	o.Endpoint, o.TLS, o.PathStyle = u.Host, u.Scheme == "https", true
	return nil
}

// redacted shows an address without its password.
func redacted(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.Redacted()
}

// Loopback reports whether the bucket is on this machine.
func (o S3) Loopback() bool {
	host := o.Endpoint
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

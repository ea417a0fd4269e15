package transport

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzARequestReadQuicklyMeansWhatItsJSONMeans(f *testing.F) {
	for _, body := range []string{
		`{"query":"{me{id}}"}`,
		` {"operationName":"Me","variables":{},"extensions":null,"query":"query Me {\n  me {\n\tid\n  }\n}\n"} `,
		`{"query":"{a(x:\"\\\"/\")}","variables":{"a":[1,{"b":"}\"]"}],"c":null},"operationName":null}`,
		`{"query":"\u007b","query":"x"}`, `{"query":"é\xff"}`, `{"Query":"x"}`, `{"query":1}`, `{"query":"x",}`, `{}`, `{,"query":"x"}`,
		`{"variables":{"a":1}}x`, `{"variables":{"a"}}`, `{"variables":{"a":[}]}}`, `{"query":"a` + "\n" + `"}`, `{"query":"\x"}`, `{"query":"\"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want envelope
		if !quickly(body, &got) {
			return
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q was read, but is %v", body, err)
		}
		for _, raw := range []*json.RawMessage{&want.Variables, &want.Extensions} {
			if text := string(*raw); text == "null" || text == "{}" {
				*raw = nil
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-encoding/json +ours):\n%s", body, diff)
		}
	})
}

func TestRequestsOfCommonClientsAreReadQuickly(t *testing.T) {
	for _, body := range []string{
		`{"query":"{me{id}}"}`,
		`{"operationName":"Me","query":"query Me {\n  me {\n    id\n    __typename\n  }\n}","variables":{},"extensions":{"clientLibrary":{"name":"@apollo/client","version":"4.0.0"}}}`,
		"{\n \"query\": \"mutation($i: I!) { a(i: $i) }\",\n \"variables\": {\"i\": {\"text\": \"\\u00e9\"}}\n}",
	} {
		var request envelope
		if !quickly([]byte(body), &request) || request.Query == nil || strings.Contains(*request.Query, `\n`) {
			t.Errorf("%s was left to encoding/json", body)
		}
	}
}

package belaytest

import (
	"net/http"
	"net/http/httptest"
)

// Handler returns a transport whose answers are those of h, for every host: a fake partner without a server, which
// works in virtual time (testing/synctest). h runs on the caller's goroutine, and its answer is there when it has
// returned.
func Handler(h http.Handler) http.RoundTripper { return handler{h} }

type handler struct{ http.Handler }

// RoundTrip implements [http.RoundTripper].
func (h handler) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	return serve(h, req), nil
}

// serve has a handler answer a client's request.
func serve(h http.Handler, req *http.Request) *http.Response {
	in := req.Clone(req.Context())
	in.RequestURI = req.URL.RequestURI()
	if in.Host = req.Host; in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, in)
	_ = in.Body.Close()
	resp := w.Result()
	resp.Request = req
	return resp
}

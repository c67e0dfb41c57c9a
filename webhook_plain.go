package belay

import "net/http"

// plainPlaces are the headers of a scheme that signs the body alone, and says what happened in headers too.
type plainPlaces struct{ at, id, typ string }

// plainPlaces returns nil for a scheme that is not as plain as that.
func (v *Verifier) plainPlaces() *plainPlaces {
	s, f := &v.scheme, &v.fields
	if v.keys[0].algorithm > HMACSHA512 || s.Timestamp != "" || s.Handshake != nil || s.Events != "" || len(v.signed) != 1 ||
		v.signed[0].kind != partBody || v.at.inBody() || len(f.paths) > 0 || len(f.id) == 0 || len(f.typ) == 0 {
		return nil
	}
	return &plainPlaces{v.at[0].header, f.id[0].header, f.typ[0].header}
}

// acceptPlain fills in d where everything is as it nearly always is: the first secret has signed a JSON object, and each header is
// there once. All else it leaves to weigh, which would accept the same and make the same of it, and can tell what is wrong. It is
// there for its speed alone.
func (v *Verifier) acceptPlain(d *Delivery, h http.Header, body []byte) bool {
	p, k := v.plain, v.keys[0]
	signatures, id, typ := h[p.at], h[p.id], h[p.typ]
	if len(signatures) != 1 || len(id) != 1 || len(typ) != 1 || len(body) == 0 || body[0] != '{' || int64(len(body)) > v.limit ||
		len(signatures[0]) > maxSignatureBytes || id[0] == "" || len(id[0]) > maxEventText || typ[0] == "" || len(typ[0]) > maxEventText {
		return false
	}
	s := k.idle.Get().(*scratch)
	s.hash.Reset()
	s.hash.Write(body)
	s.sum = s.hash.Sum(s.sum[:0])
	same, _ := k.among(signatures[0], &v.scheme, s)
	k.idle.Put(s)
	if !same {
		return false
	}
	e := &d.Events[0]
	e.ID, e.Type, e.Data = id[0], typ[0], body
	if len(v.fields.at) > 0 {
		e.Time = v.fields.time(h, nil)
	}
	d.ID, d.Partner, d.Header, d.Body = id[0], v.scheme.Name, h, body
	return true
}

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Refusal is an answer of the running p2prc that says no.
type Refusal struct {
	Message string `json:"message"`
	Kind    string `json:"kind,omitempty"` // the failure that it is, for an exit code
	Hint    string `json:"hint,omitempty"`
}

func (r *Refusal) Error() string { return r.Message }

// refusalOf is how an error travels.
func refusalOf(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	return &Refusal{Message: err.Error()}
}

// Handle answers one call: in is what the caller sent, the result what it
// gets. An error's text is shown to the user.
func Handle[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in, ok := receive[In](w, r)
		if !ok {
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			refuse(w, http.StatusConflict, refusalOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the caller went away: nobody to tell
	}
}

// receive reads what the caller sent. From here on the context of the request
// ends when the caller goes away.
func receive[In any](w http.ResponseWriter, r *http.Request) (in In, ok bool) {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(&in)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body) // net/http looks for a hang-up behind the body only
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, &Refusal{Message: "reading the request: " + err.Error()})
		return in, false
	}
	// The bound on reading is not one on answering: a map waits for its proof.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return in, true
}

func refuse(w http.ResponseWriter, status int, r *Refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(r) // as above
}

// frame is one line of a stream: something told, or the end of it.
type frame struct {
	Item    json.RawMessage `json:"item,omitempty"`
	End     bool            `json:"end,omitempty"`
	Refusal *Refusal        `json:"refusal,omitempty"` // what ended it
}

// Stream answers a call line by line: tell sends one at once. The context ends
// when the caller goes away.
func Stream[In any](f func(ctx context.Context, in In, tell func(any) error) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in, ok := receive[In](w, r)
		if !ok {
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc := json.NewEncoder(w)
		end := frame{End: true}
		err := f(r.Context(), in, func(item any) error {
			b, err := json.Marshal(item)
			if err == nil {
				err = enc.Encode(frame{Item: b})
			}
			if err == nil {
				err = http.NewResponseController(w).Flush()
			}
			return err
		})
		if err != nil {
			end.Refusal = refusalOf(err)
		}
		_ = enc.Encode(end) // the caller went away: nobody to tell
	}
}

// Call asks the p2prc behind the socket. The error is ErrNotRunning, ErrEnded,
// a *Refusal, or what went wrong on the way.
func Call[In, Out any](ctx context.Context, socket, path string, in In) (out Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	body, done, err := send(ctx, socket, path, in)
	if err != nil {
		return out, err
	}
	defer done()
	if err := json.NewDecoder(io.LimitReader(body, maxReply)).Decode(&out); err != nil {
		return out, broken(ctx, err)
	}
	return out, nil
}

// Follow asks the p2prc behind the socket and takes its lines as they come. It
// returns nil at the end of the stream, else as Call does, or take's error.
func Follow[In, Item any](ctx context.Context, socket, path string, in In, take func(Item) error) error {
	body, done, err := send(ctx, socket, path, in)
	if err != nil {
		return err
	}
	defer done()
	dec := json.NewDecoder(body)
	for {
		var f frame
		if err := dec.Decode(&f); err != nil {
			return broken(ctx, err)
		}
		switch {
		case f.Refusal != nil:
			return f.Refusal
		case f.End:
			return nil
		}
		var item Item
		if err := json.Unmarshal(f.Item, &item); err != nil {
			return broken(ctx, err)
		}
		if err := take(item); err != nil {
			return err
		}
	}
}

// broken says what is wrong with an answer that began.
func broken(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrEnded
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return ErrEnded
	}
	return fmt.Errorf("reading the running p2prc's answer: %w", err)
}

// send begins a call; done ends it.
func send[In any](ctx context.Context, socket, path string, in In) (body io.Reader, done func(), err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the running p2prc: %w", err)
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			short, done, err := reach(socket)
			if err != nil {
				return nil, &net.OpError{Op: "dial", Net: "unix", Err: err}
			}
			defer done()
			var d net.Dialer
			return d.DialContext(ctx, "unix", short)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://p2prc"+path, bytes.NewReader(text))
	if err != nil {
		return nil, nil, fmt.Errorf("asking the running p2prc: %w", err)
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		t.CloseIdleConnections()
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotRunning, op.Err)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil, ErrEnded
		}
		return nil, nil, fmt.Errorf("asking the running p2prc: %w", err)
	}
	done = func() {
		resp.Body.Close()
		t.CloseIdleConnections()
	}
	if resp.StatusCode != http.StatusOK {
		defer done()
		return nil, nil, refused(resp)
	}
	return resp.Body, done, nil
}

func refused(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return ErrEnded
	}
	if resp.StatusCode == http.StatusNotFound {
		return ErrUnknown
	}
	var r Refusal
	if json.Unmarshal(b, &r) != nil || r.Message == "" {
		r = Refusal{Message: fmt.Sprintf("the running p2prc does not know that: %s", bytes.TrimSpace(b))}
	}
	return &r
}

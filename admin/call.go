package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	// callTime bounds one question with all its retries. 5,000 proxies take
	// frps 0.2 s and frpc 14 ms to list (0.61.0-0.70.1).
	callTime = 2 * time.Second
	// maxAnswer is four times the list of 10,000 proxies.
	maxAnswer = 16 << 20
	// retries of a question that was cut off or met a 5xx.
	retries   = 2
	retryWait = 20 * time.Millisecond
	// maxWords of an answer are repeated in an error.
	maxWords = 300
)

// caller asks one endpoint. It keeps its connection between questions.
type caller struct {
	at   Endpoint
	who  string // frps or frpc, for errors
	http *retryablehttp.Client
	idle func()
}

func newCaller(who string, at Endpoint) *caller {
	transport := &http.Transport{
		Proxy:               nil, // never by way of a proxy from the environment
		DialContext:         (&net.Dialer{}).DialContext,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	return &caller{
		at:   at,
		who:  who,
		idle: transport.CloseIdleConnections,
		http: &retryablehttp.Client{
			HTTPClient: &http.Client{
				Transport: transport,
				// A redirect would carry the password elsewhere; frp has none here.
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
			RetryMax:     retries,
			CheckRetry:   worthRetrying,
			Backoff:      func(_, _ time.Duration, n int, _ *http.Response) time.Duration { return retryWait << n },
			ErrorHandler: retryablehttp.PassthroughErrorHandler,
		},
	}
}

// worthRetrying: an answer that was cut off, or a 5xx. Not a failed dial: who
// does not listen now will not in 20 ms, and a caller that waits for a start
// asks again sooner than that.
func worthRetrying(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		var op *net.OpError
		return !errors.As(err, &op) || op.Op != "dial", nil
	}
	return resp.StatusCode >= http.StatusInternalServerError, nil
}

// answer is what came back, whole.
type answer struct {
	status int
	body   []byte
}

// call asks and sorts out who answers: an error, or an answer that an frp with
// our password gave.
func (c *caller) call(ctx context.Context, method, path string, query url.Values) (answer, error) {
	bounded, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	a, err := c.send(bounded, method, path, query)
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		err = ctx.Err() // the caller's own end, not the endpoint's fault
	case bounded.Err() != nil:
		err = fmt.Errorf("%w in %v", ErrUnavailable, callTime)
	}
	return answer{}, fmt.Errorf("asking %s at %s: %w", c.who, c.at.Addr, err)
}

func (c *caller) send(ctx context.Context, method, path string, query url.Values) (answer, error) {
	at := url.URL{Scheme: "http", Host: c.at.Addr.String(), Path: path, RawQuery: query.Encode()}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return answer{}, err
	}
	req.SetBasicAuth(c.at.User, string(c.at.Password))
	// Lets net/http send a POST again when the kept connection has died.
	req.Header.Set("Idempotency-Key", path)
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	var body []byte
	if resp.ContentLength <= maxAnswer { // -1 when it does not say
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	}
	switch {
	case resp.ContentLength > maxAnswer, len(body) > maxAnswer:
		return answer{}, fmt.Errorf("%w: its answer is longer than %d bytes", ErrNotOurs, maxAnswer)
	case resp.StatusCode >= http.StatusInternalServerError:
		return answer{}, fmt.Errorf("%w: %s", ErrUnavailable, clean(resp.Status, maxWords))
	case err != nil:
		return answer{}, fmt.Errorf("%w: its answer broke off: %w", ErrUnavailable, err)
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusBadRequest:
		return answer{resp.StatusCode, body}, nil
	default:
		return answer{}, fmt.Errorf("%w: %s", ErrNotOurs, clean(resp.Status, maxWords))
	}
}

// notOurs is the error for an answer that frp would not give.
func (c *caller) notOurs(what string, cause error) error {
	err := fmt.Errorf("asking %s at %s: %w: its answer is no %s", c.who, c.at.Addr, ErrNotOurs, what)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

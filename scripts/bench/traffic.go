package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	trafficFor = 400 * time.Millisecond
	trafficAim = 0.8 // of bare frp's: it is the same frp, and the rest a busy machine's noise
)

// traffic shows that p2prc is not in the way of the data: it configures frp,
// and the bytes go through frp alone.
func traffic(ctx context.Context, b *bench) ([]result, error) {
	echo, err := b.echoTCP(1)
	if err != nil {
		return nil, err
	}
	sink, err := b.sink()
	if err != nil {
		return nil, err
	}
	services := []int{echo[0], sink}
	own, err := b.ownPair(ctx, services)
	if err != nil {
		return nil, err
	}
	bare, err := b.barePair(ctx, services)
	if err != nil {
		return nil, err
	}
	type measured struct {
		name, what string
		unit       unit
		service    int // 0 the echo, 1 the sink
		measure    func(context.Context, int) (float64, error)
	}
	var results []result
	for _, m := range []measured{
		{"throughput", "throughput of one connection, upwards", inBits, 1, throughput},
		{"connections", "new connections, one after the other", inRate, 0, connections},
		{"roundtrip", "round trip of 16 bytes on an open connection", inSeconds, 0, roundTrip},
	} {
		through := func(port int) func(context.Context) (float64, error) {
			return func(ctx context.Context) (float64, error) { return m.measure(ctx, port) }
		}
		got, err := b.inTurns(ctx, m.what, b.runs, through(own.public[m.service]), through(bare.public[m.service]))
		if err != nil {
			return results, err
		}
		r := compare("traffic-"+m.name, m.what, m.unit, got[0], got[1])
		if m.unit == inSeconds {
			r = r.times(1 / trafficAim)
		} else {
			r = r.share(trafficAim)
		}
		results = append(results, r)
	}
	return results, nil
}

// throughput is bits per second into a service.
func throughput(ctx context.Context, port int) (float64, error) {
	conn, err := dial(ctx, port)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	block := make([]byte, 128<<10)
	sent := 0
	began := time.Now()
	for time.Since(began) < trafficFor {
		n, err := conn.Write(block)
		if err != nil {
			return 0, fmt.Errorf("sending: %w", err)
		}
		sent += n
	}
	return float64(8*sent) / time.Since(began).Seconds(), nil
}

// connections is how many times a second a service can be reached and answers.
func connections(ctx context.Context, port int) (float64, error) {
	n := 0
	began := time.Now()
	for time.Since(began) < trafficFor && ctx.Err() == nil {
		if !echoes("tcp", port, time.Second) {
			return 0, fmt.Errorf("connection %d to port %d was not answered", n+1, port)
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// roundTrip is the mean time that an answer takes.
func roundTrip(ctx context.Context, port int) (float64, error) {
	conn, err := dial(ctx, port)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	n, message := 0, make([]byte, 16)
	began := time.Now()
	for time.Since(began) < trafficFor {
		if _, err := conn.Write(message); err != nil {
			return 0, fmt.Errorf("sending: %w", err)
		}
		if _, err := io.ReadFull(conn, message); err != nil {
			return 0, fmt.Errorf("receiving: %w", err)
		}
		n++
	}
	return time.Since(began).Seconds() / float64(n), nil
}

// dial opens a connection that ends by itself, should frp hang.
func dial(ctx context.Context, port int) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", at(port))
	if err != nil {
		return nil, fmt.Errorf("dialling a mapped port: %w", err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dialling a mapped port: %w", err)
	}
	return conn, nil
}

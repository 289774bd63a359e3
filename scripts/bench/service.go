package main

import (
	"fmt"
	"io"
	"net"
	"time"
)

// echoTCP opens n services that send back what they get.
func (w *world) echoTCP(n int) (ports []int, err error) {
	for range n {
		ln, err := w.serveTCP(func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }) // until it is closed
		if err != nil {
			return nil, err
		}
		ports = append(ports, ln)
	}
	return ports, nil
}

// sink opens a service that swallows what it gets.
func (w *world) sink() (port int, err error) {
	return w.serveTCP(func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) })
}

func (w *world) serveTCP(handle func(*net.TCPConn)) (port int, err error) {
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(host)})
	if err != nil {
		return 0, fmt.Errorf("opening a service: %w", err)
	}
	w.open = append(w.open, ln)
	go func() {
		for {
			conn, err := ln.AcceptTCP()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// echoUDP opens a service that sends each datagram back.
func (w *world) echoUDP() (port int, err error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		return 0, fmt.Errorf("opening a service: %w", err)
	}
	w.open = append(w.open, conn)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // closed
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from) // it may get lost, as datagrams do
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).Port, nil
}

// echoes reports whether the service behind a port answers within wait.
func echoes(network string, port int, wait time.Duration) bool {
	conn, err := net.DialTimeout(network, at(port), wait)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(wait)) != nil {
		return false
	}
	sent := []byte("is anybody there")
	if _, err := conn.Write(sent); err != nil {
		return false
	}
	got := make([]byte, len(sent))
	_, err = io.ReadFull(conn, got)
	return err == nil && string(got) == string(sent)
}

package main

import "os"

// system is what a process needs of its environment for the system's sake:
// without it no socket opens on Windows.
func system() []string { return []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT")} }

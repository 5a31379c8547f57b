package main

import (
	"fmt"
	"os"
	"time"
)

// Lines are klog's, of process 1 as in a container: the tests read them through pods/log.
func logLine(severity byte, place, format string, args ...any) {
	now := time.Now().UTC().Format("0102 15:04:05.000000")
	// One write, so that lines of concurrent calls do not mix.
	fmt.Fprintf(os.Stderr, "%c%s       1 %s] %s\n", severity, now, place, fmt.Sprintf(format, args...))
}

func infof(format string, args ...any) {
	logLine('I', "driver.go:120", format, args...)
}

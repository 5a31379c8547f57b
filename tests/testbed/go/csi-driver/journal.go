package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// entry is a line of calls.jsonl.
type entry struct {
	Time    string `json:"time"`
	PID     int    `json:"pid"`
	Call    uint64 `json:"call"`
	Event   string `json:"event"`
	Method  string `json:"method"`
	Name    string `json:"name"`
	Source  string `json:"source,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Handle  string `json:"handle,omitempty"`
	Changed *bool  `json:"changed,omitempty"`
	MS      *int64 `json:"ms,omitempty"`
}

type journal struct {
	file *os.File
	pid  int
}

func newJournal(state string) (*journal, error) {
	path := filepath.Join(state, "calls.jsonl")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &journal{file: file, pid: os.Getpid()}, err
}

func (j *journal) write(entry entry) error {
	entry.Time = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	entry.PID = j.pid
	line, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	// One write to a file opened for appending: lines of several processes do not mix.
	_, err = j.file.Write(append(line, '\n'))
	return err
}

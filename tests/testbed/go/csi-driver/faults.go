package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// rule is an entry of faults.json. Empty fields match every call.
type rule struct {
	ID        string `json:"id"`
	Method    string `json:"method"`
	Name      string `json:"name"`
	Source    string `json:"source"`
	PVC       string `json:"pvc"`
	Snapshot  string `json:"snapshot"`
	Namespace string `json:"namespace"`
	Action    action `json:"action"`
	Times     int    `json:"times"`
}

// action is "hang", {"delay": "30s"}, or {"error": "NotFound", "message": "…"}.
type action struct {
	hang    bool
	delay   time.Duration
	code    codes.Code
	message string
}

func (a *action) UnmarshalJSON(data []byte) error {
	var word string
	if json.Unmarshal(data, &word) == nil {
		a.hang = word == "hang"
		if !a.hang {
			return fmt.Errorf("unknown action %q", word)
		}
		return nil
	}
	var fields struct {
		Delay   string `json:"delay"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	if err := strict(data, &fields); err != nil {
		return err
	}
	if (fields.Delay == "") == (fields.Error == "") {
		return errors.New("an action has either a delay or an error")
	}
	if fields.Delay != "" {
		var err error
		a.delay, err = time.ParseDuration(fields.Delay)
		return err
	}
	a.message = fields.Message
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if code.String() == fields.Error {
			a.code = code
			return nil
		}
	}
	return fmt.Errorf("unknown gRPC code %q", fields.Error)
}

// strict refuses unknown fields: a rule with a misspelt one would match more calls than its author meant.
func strict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

type faults struct {
	state string
}

// claim returns the first rule that matches the call, nil where none does. A rule with `times` is used up by it.
func (f *faults) claim(call *call) (*rule, error) {
	path := filepath.Join(f.state, "faults.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rules []rule
	if err := strict(data, &rules); err != nil {
		return nil, fmt.Errorf("faults.json: %w", err)
	}
	for _, rule := range rules {
		if rule.ID == "" || rule.Method == "" || strings.ContainsRune(rule.ID, filepath.Separator) {
			return nil, errors.New("faults.json: a rule needs a method, and an id that is usable as a file name")
		}
		if !rule.matches(call) {
			continue
		}
		claimed, err := f.count(&rule)
		if err != nil {
			return nil, err
		}
		if claimed {
			return &rule, nil
		}
	}
	return nil, nil
}

// count takes one of the rule's times; false once all are taken. The file system makes each a single process's.
func (f *faults) count(rule *rule) (bool, error) {
	if rule.Times == 0 {
		return true, nil
	}
	directory := filepath.Join(f.state, "fired", rule.ID)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return false, err
	}
	for n := 1; n <= rule.Times; n++ {
		file, err := os.OpenFile(filepath.Join(directory, strconv.Itoa(n)), os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			return true, file.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return false, err
		}
	}
	return false, nil
}

func (r *rule) matches(call *call) bool {
	equal := func(wanted, actual string) bool { return wanted == "" || wanted == actual }
	named := func(actual string) bool {
		if prefix, found := strings.CutSuffix(r.Name, "*"); found {
			return strings.HasPrefix(actual, prefix)
		}
		return equal(r.Name, actual)
	}
	return r.Method == call.method &&
		(named(call.name) || call.requestName != "" && named(call.requestName)) &&
		equal(r.Source, call.source) &&
		equal(r.PVC, call.pvc) &&
		equal(r.Snapshot, call.snapshot) &&
		equal(r.Namespace, call.namespace)
}

package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// object is a volume or a snapshot as it is kept on disk.
type object struct {
	Handle     string            `json:"handle"`
	Name       string            `json:"name"`
	Bytes      int64             `json:"bytes"`
	Created    time.Time         `json:"created"`
	Parameters map[string]string `json:"parameters,omitempty"`
	// Handle of the source: a snapshot has a volume, a volume has either or none.
	Volume   string `json:"volume,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
}

// store is a directory of objects: <handle>.json, and for each request name a link to it. Several processes use
// it at once without a lock: the link is created atomically, and whoever creates it has created the object.
type store struct {
	directory string
}

func newStore(directory string) (*store, error) {
	return &store{directory: directory}, os.MkdirAll(directory, 0o755)
}

func newHandle() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	// ceph-csi's form: version, length of the cluster id, the cluster id, pool id, image.
	return fmt.Sprintf("0001-0009-rook-ceph-0000000000000002-%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// byName returns nil where nothing has that name.
func (s *store) byName(name string) (*object, error) {
	return s.read(name)
}

// byHandle returns nil where nothing has that handle.
func (s *store) byHandle(handle string) (*object, error) {
	return s.read(handle + ".json")
}

func (s *store) read(file string) (*object, error) {
	if strings.ContainsRune(file, filepath.Separator) {
		return nil, fmt.Errorf("%q is not usable as a file name", file)
	}
	data, err := os.ReadFile(filepath.Join(s.directory, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := &object{}
	if err := json.Unmarshal(data, found); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return found, nil
}

// create writes the object unless another one has its name, and returns the one that has it then and whether it is new.
func (s *store) create(wanted object) (*object, bool, error) {
	data, err := json.Marshal(wanted)
	if err != nil {
		return nil, false, err
	}
	file := wanted.Handle + ".json"
	path := filepath.Join(s.directory, file)
	// Nobody knows the handle before the link is there, so nobody reads half a file.
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return nil, false, err
	}
	err = os.Symlink(file, filepath.Join(s.directory, wanted.Name))
	if err == nil {
		return &wanted, true, nil
	}
	if err := os.Remove(path); err != nil {
		return nil, false, err
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, false, err
	}
	other, err := s.byName(wanted.Name)
	if err == nil && other == nil {
		err = fmt.Errorf("%s was created and deleted meanwhile", wanted.Name)
	}
	return other, false, err
}

func (s *store) remove(gone *object) error {
	file := gone.Handle + ".json"
	link := filepath.Join(s.directory, gone.Name)
	// The link first: a name must not lead nowhere, else it could not be created again. It may lead to another
	// object by now.
	if target, err := os.Readlink(link); err == nil && target == file {
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(filepath.Join(s.directory, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

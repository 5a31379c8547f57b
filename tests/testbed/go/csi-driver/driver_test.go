// The driver as a process of its own, behind its socket, as the sidecars see it:
//
//  1. calls are idempotent by name, and objects survive a restart;
//  2. a hung call keeps its locks after its client gave up, and until its process ends;
//  3. refusals carry ceph-csi's messages and log lines;
//  4. fault rules match, count over processes, and fail loudly when they cannot be read.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const asDriver = "CSI_DRIVER_TEST_AS_DRIVER"

func TestMain(m *testing.M) {
	if os.Getenv(asDriver) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a running driver.
type process struct {
	csi.ControllerClient
	t       *testing.T
	command *exec.Cmd
	logs    *bytes.Buffer
}

func start(t *testing.T, state string, flags ...string) *process {
	t.Helper()
	// Socket paths are limited to about a hundred bytes, test directories are not.
	directory, err := os.MkdirTemp("", "csi")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(directory) })
	socket := filepath.Join(directory, "csi.sock")
	command := exec.Command(os.Args[0], append([]string{
		"--driver-name", "rook-ceph.rbd.csi.ceph.com", "--endpoint", "unix://" + socket, "--state", state,
	}, flags...)...)
	command.Env = append(os.Environ(), asDriver+"=1")
	logs := &bytes.Buffer{}
	command.Stderr = logs
	must(t, command.Start())
	// A refused connection would be tried again only after a second.
	for _, err = os.Stat(socket); err != nil && t.Context().Err() == nil; _, err = os.Stat(socket) {
		time.Sleep(5 * time.Millisecond)
	}
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	running := &process{csi.NewControllerClient(connection), t, command, logs}
	t.Cleanup(func() { connection.Close(); running.end() })
	_, err = csi.NewIdentityClient(connection).Probe(t.Context(), &csi.ProbeRequest{}, grpc.WaitForReady(true))
	must(t, err)
	return running
}

// end kills the process and returns its log.
func (p *process) end() string {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
	return p.logs.String()
}

func (p *process) volume(name string, source *csi.VolumeContentSource) (*csi.Volume, error) {
	response, err := p.CreateVolume(p.t.Context(), &csi.CreateVolumeRequest{
		Name:                name,
		VolumeContentSource: source,
		VolumeCapabilities:  []*csi.VolumeCapability{{}},
		Parameters:          map[string]string{pvcName: "claim-of-" + name, pvcNamespace: "media"},
	})
	return response.GetVolume(), err
}

func (p *process) snapshot(ctx context.Context, name, volume string) (*csi.Snapshot, error) {
	response, err := p.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{
		Name:           name,
		SourceVolumeId: volume,
		Parameters:     map[string]string{snapshotName: "vs-of-" + name, snapshotNamespace: "media"},
	})
	return response.GetSnapshot(), err
}

func fromSnapshot(handle string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: handle},
	}}
}

// inject replaces the fault rules.
func inject(t *testing.T, state, rules string) {
	t.Helper()
	written := filepath.Join(state, "faults.json.new")
	must(t, os.WriteFile(written, []byte(rules), 0o644))
	must(t, os.Rename(written, filepath.Join(state, "faults.json")))
}

// await returns once the journal has a line with all the given parts.
func await(t *testing.T, state string, parts ...string) entry {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, line := range journalLines(t, state) {
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, part)
			}
			if found {
				var entry entry
				must(t, json.Unmarshal([]byte(line), &entry))
				return entry
			}
		}
	}
	t.Fatalf("no line with %q in the journal", parts)
	return entry{}
}

func journalLines(t *testing.T, state string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(state, "calls.jsonl"))
	must(t, err)
	var lines []string
	for scanner := bufio.NewScanner(bytes.NewReader(data)); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if status.Code(err) != code || status.Convert(err).Message() != message {
		t.Fatalf("got %v, not %s %q", err, code, message)
	}
}

func TestObjectsAreIdempotentByNameAndSurviveARestart(t *testing.T) {
	state := t.TempDir()
	first := start(t, state)
	volume, err := first.volume("pvc-1", nil)
	must(t, err)
	snapshot, err := first.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	must(t, err)
	restored, err := first.volume("pvc-2", fromSnapshot(snapshot.SnapshotId))
	must(t, err)
	if handle := regexp.MustCompile(`^0001-0009-rook-ceph-0000000000000002-[0-9a-f-]{36}$`); !handle.MatchString(volume.VolumeId) {
		t.Fatal(volume.VolumeId)
	}
	first.end()

	second := start(t, state)
	again, err := second.volume("pvc-1", nil)
	must(t, err)
	snapshotAgain, err := second.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	must(t, err)
	if again.VolumeId != volume.VolumeId || snapshotAgain.SnapshotId != snapshot.SnapshotId {
		t.Fatal("created twice")
	}
	if entry := await(t, state, `"end"`, `"changed":false`, `"CreateSnapshot"`); entry.Handle != snapshot.SnapshotId {
		t.Fatalf("%+v", entry)
	}
	_, err = second.volume("pvc-2", nil)
	expect(t, err, codes.AlreadyExists, "volume pvc-2 exists with another source")

	for range 2 {
		_, err = second.DeleteSnapshot(t.Context(), &csi.DeleteSnapshotRequest{SnapshotId: snapshot.SnapshotId})
		must(t, err)
		_, err = second.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: restored.VolumeId})
		must(t, err)
	}
	_, err = second.volume("pvc-3", fromSnapshot(snapshot.SnapshotId))
	expect(t, err, codes.NotFound, snapshot.SnapshotId+" snapshot does not exist")
	_, err = second.snapshot(t.Context(), "snapshot-2", restored.VolumeId)
	expect(t, err, codes.NotFound, "source Volume ID "+restored.VolumeId+" not found")
	fresh, err := second.volume("pvc-2", nil)
	must(t, err)
	if fresh.VolumeId == restored.VolumeId {
		t.Fatal("a handle was used twice")
	}
}

func TestHungSnapshotIsRefusedUntilTheProcessEnds(t *testing.T) {
	state := t.TempDir()
	driver := start(t, state)
	volume, err := driver.volume("pvc-1", nil)
	must(t, err)
	inject(t, state, `[{"id": "jam", "method": "CreateSnapshot", "pvc": "claim-of-pvc-1", "namespace": "media", "action": "hang", "times": 1}]`)

	ctx, giveUp := context.WithCancel(t.Context())
	hung := make(chan error)
	go func() {
		_, err := driver.snapshot(ctx, "snapshot-1", volume.VolumeId)
		hung <- err
	}()
	await(t, state, `"hang"`, `"jam"`)
	giveUp()
	if err := <-hung; status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
	for range 2 {
		_, err = driver.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
		expect(t, err, codes.Aborted, "an operation with the given Volume ID snapshot-1 already exists")
	}
	// Another name of the same volume has a key of its own, as with RBD. The volume cannot go meanwhile.
	_, err = driver.snapshot(t.Context(), "snapshot-2", volume.VolumeId)
	must(t, err)
	_, err = driver.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: volume.VolumeId})
	expect(t, err, codes.Aborted, "a Create operation with given id "+volume.VolumeId+" already exists")

	logs := driver.end()
	lines := regexp.MustCompile(`(?m)^E\d{4} \d\d:\d\d:\d\d\.\d{6}       1 controllerserver\.go:1161\] ID: (\d+) Req-ID: snapshot-1 ` +
		`an operation with the given Snapshot ID snapshot-1 already exists
E\d{4} \d\d:\d\d:\d\d\.\d{6}       1 utils\.go:210\] ID: (\d+) Req-ID: snapshot-1 ` +
		`GRPC error: rpc error: code = Aborted desc = an operation with the given Volume ID snapshot-1 already exists$`)
	if found := lines.FindAllStringSubmatch(logs, -1); len(found) != 2 || found[0][1] != found[0][2] {
		t.Fatalf("%q in\n%s", found, logs)
	}

	restarted := start(t, state)
	_, err = restarted.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	must(t, err)
}

func TestHungRestoreLocksItsSnapshot(t *testing.T) {
	for kind, refused := range map[string]bool{"rbd": true, "cephfs": false} {
		t.Run(kind, func(t *testing.T) {
			state := t.TempDir()
			driver := start(t, state, "--kind", kind)
			volume, err := driver.volume("pvc-1", nil)
			must(t, err)
			snapshot, err := driver.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
			must(t, err)
			inject(t, state, `[{"id": "jam", "method": "CreateVolume", "snapshot": "vs-of-snapshot-1", "action": "hang", "times": 1}]`)
			go driver.volume("pvc-2", fromSnapshot(snapshot.SnapshotId))
			await(t, state, `"hang"`)

			_, err = driver.volume("pvc-2", fromSnapshot(snapshot.SnapshotId))
			expect(t, err, codes.Aborted, "an operation with the given Volume ID pvc-2 already exists")
			_, err = driver.volume("pvc-3", fromSnapshot(snapshot.SnapshotId))
			_, deleted := driver.DeleteSnapshot(t.Context(), &csi.DeleteSnapshotRequest{SnapshotId: snapshot.SnapshotId})
			if refused {
				expect(t, err, codes.Aborted, "an operation with the given Volume ID "+snapshot.SnapshotId+" already exists")
				expect(t, deleted, codes.Aborted, "an operation with the given Volume ID "+snapshot.SnapshotId+" already exists")
			} else {
				must(t, err)
				expect(t, deleted, codes.Aborted, "a Restore operation with given id "+snapshot.SnapshotId+" already exists")
			}
		})
	}
}

func TestCephFSSnapshotLocksItsVolume(t *testing.T) {
	state := t.TempDir()
	driver := start(t, state, "--kind", "cephfs")
	volume, err := driver.volume("pvc-1", nil)
	must(t, err)
	inject(t, state, `[{"id": "jam", "method": "CreateSnapshot", "name": "snapshot-1", "action": "hang"}]`)
	go driver.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	await(t, state, `"hang"`)
	_, err = driver.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	expect(t, err, codes.Aborted, "an operation with the given Snapshot ID snapshot-1 already exists")
	_, err = driver.snapshot(t.Context(), "snapshot-2", volume.VolumeId)
	expect(t, err, codes.Aborted, "an operation with the given Volume ID "+volume.VolumeId+" already exists")
}

func TestDelayedCallFinishesWithoutItsClient(t *testing.T) {
	state := t.TempDir()
	driver := start(t, state)
	volume, err := driver.volume("pvc-1", nil)
	must(t, err)
	inject(t, state, `[{"id": "slow", "method": "CreateSnapshot", "source": "`+volume.VolumeId+`", "action": {"delay": "400ms"}, "times": 1}]`)
	ctx, giveUp := context.WithCancel(t.Context())
	go driver.snapshot(ctx, "snapshot-1", volume.VolumeId)
	await(t, state, `"delay"`, `"slow"`)
	giveUp()
	_, err = driver.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	expect(t, err, codes.Aborted, "an operation with the given Volume ID snapshot-1 already exists")
	late := await(t, state, `"end"`, `"CreateSnapshot"`, `"OK"`, `"changed":true`)
	snapshot, err := driver.snapshot(t.Context(), "snapshot-1", volume.VolumeId)
	must(t, err)
	if late.Handle != snapshot.SnapshotId || *late.MS < 400 {
		t.Fatalf("%+v", late)
	}
}

func TestTimesAreCountedOverAllProcesses(t *testing.T) {
	state := t.TempDir()
	drivers := []*process{start(t, state), start(t, state)}
	inject(t, state, `[{"id": "gone", "method": "CreateVolume", "name": "pvc-*", "action": {"error": "NotFound", "message": "no such pool"}, "times": 3}]`)
	for n := range 3 {
		_, err := drivers[n%2].volume(fmt.Sprintf("pvc-%d", n), nil)
		expect(t, err, codes.NotFound, "no such pool")
	}
	for _, driver := range drivers {
		_, err := driver.volume("pvc-0", nil)
		must(t, err)
	}
}

func TestUnreadableRulesFailEveryCall(t *testing.T) {
	state := t.TempDir()
	driver := start(t, state)
	for rules, reason := range map[string]string{
		`[{"id": "a", "method": "CreateVolume", "claim": "b", "action": "hang"}]`: `json: unknown field "claim"`,
		`[{"id": "a", "method": "CreateVolume", "action": "explode"}]`:            `unknown action "explode"`,
		`[{"id": "a", "method": "CreateVolume", "action": {"error": "Gone"}}]`:    `unknown gRPC code "Gone"`,
		`[{"method": "CreateVolume", "action": "hang"}]`:                          "a rule needs a method, and an id that is usable as a file name",
	} {
		inject(t, state, rules)
		_, err := driver.volume("pvc-1", nil)
		expect(t, err, codes.Internal, "faults.json: "+reason)
	}
}

func TestConcurrentCreationYieldsOneObject(t *testing.T) {
	directory := t.TempDir()
	handles := make(chan string, 16)
	var group sync.WaitGroup
	for range cap(handles) {
		group.Go(func() {
			store, err := newStore(directory)
			if err != nil {
				t.Error(err)
				return
			}
			created, _, err := store.create(object{Handle: newHandle(), Name: "pvc-1"})
			if err != nil {
				t.Error(err)
				return
			}
			handles <- created.Handle
		})
	}
	group.Wait()
	close(handles)
	first := <-handles
	for handle := range handles {
		if handle != first {
			t.Fatalf("%s and %s have one name", first, handle)
		}
	}
	if files, err := os.ReadDir(directory); err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
}

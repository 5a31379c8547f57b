package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// controller locks in the order of ceph-csi's internal/rbd/controllerserver.go and internal/cephfs/controllerserver.go.
type controller struct {
	csi.UnimplementedControllerServer
	cephfs    bool
	volumes   *store
	snapshots *store
	faults    *faults
	journal   *journal

	volumeLocks    *lockSet
	snapshotLocks  *lockSet
	operationLocks *operationLocks
}

func newController(state string, cephfs bool) (*controller, error) {
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	volumes, err := newStore(filepath.Join(state, "volumes"))
	if err != nil {
		return nil, err
	}
	snapshots, err := newStore(filepath.Join(state, "snapshots"))
	if err != nil {
		return nil, err
	}
	journal, err := newJournal(state)
	if err != nil {
		return nil, err
	}
	return &controller{
		cephfs:         cephfs,
		volumes:        volumes,
		snapshots:      snapshots,
		faults:         &faults{state: state},
		journal:        journal,
		volumeLocks:    newLockSet(),
		snapshotLocks:  newLockSet(),
		operationLocks: newOperationLocks(),
	}, nil
}

const (
	volumeLocked   = "an operation with the given Volume ID %s already exists"
	snapshotLocked = "an operation with the given Snapshot ID %s already exists"
)

// refuse logs like the line of controllerserver.go that refuses, and returns the error.
func refuse(call *call, line int, logged, returned string) error {
	logLine('E', fmt.Sprintf("controllerserver.go:%d", line), "ID: %d Req-ID: %s %s", call.id, call.name, logged)
	return status.Error(codes.Aborted, returned)
}

func (c *controller) lockVolume(call *call, line int, key string) (func(), error) {
	if !c.volumeLocks.tryAcquire(key) {
		message := fmt.Sprintf(volumeLocked, key)
		return nil, refuse(call, line, message, message)
	}
	return func() { c.volumeLocks.release(key) }, nil
}

// lockSnapshot logs "Snapshot ID"; the RBD driver returns "Volume ID" for the same refusal.
func (c *controller) lockSnapshot(call *call, line int, key string) (func(), error) {
	if !c.snapshotLocks.tryAcquire(key) {
		logged := fmt.Sprintf(snapshotLocked, key)
		returned := fmt.Sprintf(volumeLocked, key)
		if c.cephfs {
			returned = logged
		}
		return nil, refuse(call, line, logged, returned)
	}
	return func() { c.snapshotLocks.release(key) }, nil
}

func (c *controller) lockOperation(call *call, line int, operation operation, handle string) (func(), error) {
	if err := c.operationLocks.tryAcquire(operation, handle); err != nil {
		return nil, refuse(call, line, err.Error(), err.Error())
	}
	return func() { c.operationLocks.release(operation, handle) }, nil
}

// applyFault does as the first matching rule says. It never returns from a hang, so that the caller keeps its locks.
func (c *controller) applyFault(call *call) error {
	rule, err := c.faults.claim(call)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if rule == nil {
		return nil
	}
	applied := func(event string) error {
		entry := call.entry(event)
		entry.Rule = rule.ID
		return c.journal.write(entry)
	}
	switch {
	case rule.Action.hang:
		if err := applied("hang"); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		select {}
	case rule.Action.delay > 0:
		if err := applied("delay"); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		// ceph-csi does not look at the client's deadline either.
		time.Sleep(rule.Action.delay)
		return nil
	default:
		return status.Error(rule.Action.code, rule.Action.message)
	}
}

func (c *controller) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	call := callOf(ctx)
	if call.name == "" || len(request.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a volume needs a name and capabilities")
	}
	unlock, err := c.lockVolume(call, 361, call.name)
	if err != nil {
		return nil, err
	}
	defer unlock()

	snapshotHandle := request.GetVolumeContentSource().GetSnapshot().GetSnapshotId()
	volumeHandle := request.GetVolumeContentSource().GetVolume().GetVolumeId()
	if err := c.checkSources(call, snapshotHandle, volumeHandle); err != nil {
		return nil, err
	}
	found, err := c.volumes.byName(call.name)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if found == nil {
		unlock, err := c.lockSources(call, snapshotHandle, volumeHandle)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if err := c.applyFault(call); err != nil {
		return nil, err
	}
	if found == nil {
		found, call.changed, err = c.volumes.create(object{
			Handle:     newHandle(),
			Name:       call.name,
			Bytes:      max(request.GetCapacityRange().GetRequiredBytes(), 1<<20),
			Created:    time.Now().UTC(),
			Parameters: request.GetParameters(),
			Snapshot:   snapshotHandle,
			Volume:     volumeHandle,
		})
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	if found.Snapshot != snapshotHandle || found.Volume != volumeHandle {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s exists with another source", call.name)
	}
	call.handle = found.Handle
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:      found.Handle,
		CapacityBytes: found.Bytes,
		VolumeContext: found.Parameters,
		ContentSource: request.GetVolumeContentSource(),
	}}, nil
}

func (c *controller) checkSources(call *call, snapshotHandle, volumeHandle string) error {
	if snapshotHandle != "" {
		source, err := c.snapshots.byHandle(snapshotHandle)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if source == nil {
			return status.Errorf(codes.NotFound, "%s snapshot does not exist", snapshotHandle)
		}
		call.snapshot = source.Parameters[snapshotName]
	}
	if volumeHandle != "" {
		source, err := c.volumes.byHandle(volumeHandle)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if source == nil {
			return status.Errorf(codes.NotFound, "%s image does not exist", volumeHandle)
		}
	}
	return nil
}

// lockSources locks what a new volume is made from; its caller has locked the volume's name.
func (c *controller) lockSources(call *call, snapshotHandle, volumeHandle string) (func(), error) {
	switch {
	case snapshotHandle != "":
		restored, err := c.lockOperation(call, 631, restoreOperation, snapshotHandle)
		if err != nil || c.cephfs {
			return restored, err
		}
		unlock, err := c.lockSnapshot(call, 669, snapshotHandle)
		if err != nil {
			restored()
			return nil, err
		}
		return func() { unlock(); restored() }, nil
	case volumeHandle != "":
		return c.lockOperation(call, 641, cloneOperation, volumeHandle)
	}
	return func() {}, nil
}

func (c *controller) DeleteVolume(ctx context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	call := callOf(ctx)
	if call.name == "" {
		return nil, status.Error(codes.InvalidArgument, "empty volume ID in request")
	}
	unlock, err := c.lockVolume(call, 958, call.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	unlock, err = c.lockOperation(call, 966, deleteOperation, call.name)
	if err != nil {
		return nil, err
	}
	defer unlock()

	found, err := c.volumes.byHandle(call.name)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if found != nil {
		call.describe(found)
		unlock, err := c.lockVolume(call, 1000, found.Name)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if err := c.applyFault(call); err != nil {
		return nil, err
	}
	if found != nil {
		if err := c.volumes.remove(found); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		call.changed = true
	}
	call.handle = call.name
	return &csi.DeleteVolumeResponse{}, nil
}

func (c *controller) CreateSnapshot(
	ctx context.Context, request *csi.CreateSnapshotRequest,
) (*csi.CreateSnapshotResponse, error) {
	call := callOf(ctx)
	if call.name == "" || call.source == "" {
		return nil, status.Error(codes.InvalidArgument, "a snapshot needs a name and a source volume")
	}
	volume, err := c.volumes.byHandle(call.source)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if volume == nil {
		return nil, status.Errorf(codes.NotFound, "source Volume ID %s not found", call.source)
	}
	call.pvc = volume.Parameters[pvcName]
	unlock, err := c.lockSnapshot(call, 1161, call.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	unlock, err = c.lockOperation(call, 1169, createOperation, call.source)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c.cephfs {
		unlock, err := c.lockVolume(call, 831, call.source)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}

	if err := c.applyFault(call); err != nil {
		return nil, err
	}
	found, err := c.snapshots.byName(call.name)
	if err == nil && found == nil {
		found, call.changed, err = c.snapshots.create(object{
			Handle:     newHandle(),
			Name:       call.name,
			Bytes:      volume.Bytes,
			Created:    time.Now().UTC(),
			Parameters: request.GetParameters(),
			Volume:     call.source,
		})
	}
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if found.Volume != call.source {
		return nil, status.Errorf(codes.AlreadyExists, "snapshot %s exists with another source", call.name)
	}
	call.handle = found.Handle
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{
		SnapshotId:     found.Handle,
		SourceVolumeId: found.Volume,
		SizeBytes:      found.Bytes,
		CreationTime:   timestamppb.New(found.Created),
		ReadyToUse:     true,
	}}, nil
}

func (c *controller) DeleteSnapshot(
	ctx context.Context, request *csi.DeleteSnapshotRequest,
) (*csi.DeleteSnapshotResponse, error) {
	call := callOf(ctx)
	if call.name == "" {
		return nil, status.Error(codes.InvalidArgument, "snapshot ID cannot be empty")
	}
	unlock, err := c.lockSnapshot(call, 1441, call.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	unlock, err = c.lockOperation(call, 1449, deleteOperation, call.name)
	if err != nil {
		return nil, err
	}
	defer unlock()

	found, err := c.snapshots.byHandle(call.name)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if found != nil {
		call.requestName = found.Name
		call.source = found.Volume
		call.snapshot = found.Parameters[snapshotName]
		call.namespace = found.Parameters[snapshotNamespace]
		unlock, err := c.lockSnapshot(call, 1495, found.Name)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if err := c.applyFault(call); err != nil {
		return nil, err
	}
	if found != nil {
		if err := c.snapshots.remove(found); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		call.changed = true
	}
	call.handle = call.name
	return &csi.DeleteSnapshotResponse{}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if request.GetVolumeId() == "" || len(request.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a volume ID and capabilities are needed")
	}
	found, err := c.volumes.byHandle(request.GetVolumeId())
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if found == nil {
		return nil, status.Errorf(codes.NotFound, "volume ID %s not found", request.GetVolumeId())
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
			VolumeCapabilities: request.GetVolumeCapabilities(),
		},
	}, nil
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, each := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
	} {
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: each}},
		})
	}
	return response, nil
}

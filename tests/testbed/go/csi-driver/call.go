package main

import (
	"context"
	"path"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// call is one request of the four kinds that lock, with everything a fault rule may match.
type call struct {
	id     uint64
	method string
	// Request name, or the handle where the request names one. Logged as Req-ID.
	name string
	// Of a deletion: the name under which the object was created.
	requestName string
	// Handle of the volume or snapshot that the object is made from.
	source string
	// The claim that the volume is for, or that the snapshot is of.
	pvc string
	// The VolumeSnapshot that is taken, deleted or restored.
	snapshot  string
	namespace string

	// Results, for the journal.
	handle  string
	changed bool
}

const (
	pvcName           = "csi.storage.k8s.io/pvc/name"
	pvcNamespace      = "csi.storage.k8s.io/pvc/namespace"
	snapshotName      = "csi.storage.k8s.io/volumesnapshot/name"
	snapshotNamespace = "csi.storage.k8s.io/volumesnapshot/namespace"
)

type callKey struct{}

func callOf(ctx context.Context) *call {
	return ctx.Value(callKey{}).(*call)
}

// newCall returns nil for requests that take no lock.
func newCall(request any) *call {
	switch request := request.(type) {
	case *csi.CreateVolumeRequest:
		source := request.GetVolumeContentSource()
		return &call{
			name:      request.GetName(),
			source:    source.GetSnapshot().GetSnapshotId() + source.GetVolume().GetVolumeId(),
			pvc:       request.GetParameters()[pvcName],
			namespace: request.GetParameters()[pvcNamespace],
		}
	case *csi.DeleteVolumeRequest:
		return &call{name: request.GetVolumeId()}
	case *csi.CreateSnapshotRequest:
		return &call{
			name:      request.GetName(),
			source:    request.GetSourceVolumeId(),
			snapshot:  request.GetParameters()[snapshotName],
			namespace: request.GetParameters()[snapshotNamespace],
		}
	case *csi.DeleteSnapshotRequest:
		return &call{name: request.GetSnapshotId()}
	}
	return nil
}

func (c *call) describe(volume *object) {
	c.requestName = volume.Name
	c.pvc = volume.Parameters[pvcName]
	c.namespace = volume.Parameters[pvcNamespace]
}

var calls atomic.Uint64

// intercept numbers, journals and logs a call as ceph-csi's interceptors do at verbosity 0: errors only.
func (c *controller) intercept(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (any, error) {
	call := newCall(request)
	if call == nil {
		return handle(ctx, request)
	}
	call.id = calls.Add(1)
	call.method = path.Base(info.FullMethod)
	started := time.Now()
	if err := c.journal.write(call.entry("begin")); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	response, err := handle(context.WithValue(ctx, callKey{}, call), request)
	if err != nil {
		logLine('E', "utils.go:210", "ID: %d Req-ID: %s GRPC error: %v", call.id, call.name, err)
	}
	end := call.entry("end")
	end.Outcome = status.Code(err).String()
	elapsed := time.Since(started).Milliseconds()
	end.MS = &elapsed
	if err == nil {
		end.Handle, end.Changed = call.handle, &call.changed
	}
	if err := c.journal.write(end); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return response, err
}

func (c *call) entry(event string) entry {
	return entry{Call: c.id, Event: event, Method: c.method, Name: c.name, Source: c.source}
}

package main

import (
	"fmt"
	"sync"
)

// lockSet is ceph-csi's util.VolumeLocks: keys of calls in progress. A second call is refused, it never waits.
type lockSet struct {
	mutex sync.Mutex
	keys  map[string]bool
}

func newLockSet() *lockSet {
	return &lockSet{keys: map[string]bool{}}
}

func (l *lockSet) tryAcquire(key string) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.keys[key] {
		return false
	}
	l.keys[key] = true
	return true
}

func (l *lockSet) release(key string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.keys, key)
}

type operation string

const (
	createOperation  operation = "a Create"
	cloneOperation   operation = "a Clone"
	restoreOperation operation = "a Restore"
	deleteOperation  operation = "a Delete"
)

// conflicts lists the operations that exclude one on the same handle, in the order ceph-csi checks them.
var conflicts = map[operation][]operation{
	createOperation:  {deleteOperation},
	cloneOperation:   {deleteOperation},
	restoreOperation: {deleteOperation},
	deleteOperation:  {cloneOperation, createOperation, restoreOperation},
}

// operationLocks is ceph-csi's util.OperationLock: reads of a handle exclude its deletion, not each other.
type operationLocks struct {
	mutex   sync.Mutex
	running map[operation]map[string]int
}

func newOperationLocks() *operationLocks {
	running := map[operation]map[string]int{}
	for each := range conflicts {
		running[each] = map[string]int{}
	}
	return &operationLocks{running: running}
}

func (l *operationLocks) tryAcquire(wanted operation, handle string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, other := range conflicts[wanted] {
		if l.running[other][handle] > 0 {
			return fmt.Errorf("%s operation with given id %s already exists", other, handle)
		}
	}
	l.running[wanted][handle]++
	return nil
}

func (l *operationLocks) release(held operation, handle string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.running[held][handle]--
}

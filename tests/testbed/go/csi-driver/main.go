// A CSI driver with ceph-csi's locks and without Ceph, which the tests run below the real sidecars. README.md
// describes its flags and files.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

const version = "1.0.0"

func main() {
	name := flag.String("driver-name", "", "name of the CSI driver")
	endpoint := flag.String("endpoint", "", "unix:// and the path of the socket to serve")
	state := flag.String("state", "", "directory that all processes of the driver share")
	kind := flag.String("kind", "rbd", "whose locks to keep: rbd or cephfs")
	printVersion := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *printVersion {
		fmt.Println("csi-driver", version)
		return
	}
	if err := run(*name, *endpoint, *state, *kind); err != nil {
		fmt.Fprintln(os.Stderr, "csi-driver:", err)
		os.Exit(1)
	}
}

func run(name, endpoint, state, kind string) error {
	path, isUnix := strings.CutPrefix(endpoint, "unix://")
	switch {
	case name == "":
		return errors.New("--driver-name is required")
	case !isUnix || path == "":
		return errors.New("--endpoint must be unix:// and a path")
	case state == "":
		return errors.New("--state is required")
	case kind != "rbd" && kind != "cephfs":
		return fmt.Errorf("--kind must be rbd or cephfs, not %s", kind)
	}
	controller, err := newController(state, kind == "cephfs")
	if err != nil {
		return err
	}
	// A killed process leaves its socket behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := newServer(name, controller)
	infof("serving %s on %s", name, path)
	return server.Serve(listener)
}

func newServer(name string, controller *controller) *grpc.Server {
	server := grpc.NewServer(grpc.UnaryInterceptor(controller.intercept))
	csi.RegisterIdentityServer(server, &identity{name: name})
	csi.RegisterControllerServer(server, controller)
	return server
}

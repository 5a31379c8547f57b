// Pins the kinds of the Prometheus Operator, which tests hold what is installed against. Nothing of it is built.
module volsync-locksmith/testbed/operator

go 1.24

require github.com/prometheus-operator/prometheus-operator v0.85.0

// Pins the kinds of others that deploy/ has objects of, as their projects publish them. Nothing of it is built.
module volsync-locksmith/testbed/kinds

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.3.0
	github.com/fluxcd/helm-controller v1.4.0
	github.com/fluxcd/source-controller v1.8.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)

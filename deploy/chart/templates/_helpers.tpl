{{/* Labels that select the pods. They can never change, because a Deployment's selector cannot. */}}
{{- define "locksmith.selectorLabels" -}}
app.kubernetes.io/name: locksmith
{{- end }}

{{- define "locksmith.labels" -}}
{{ include "locksmith.selectorLabels" . }}
{{ include "locksmith.recommendedLabels" . }}
{{- end }}

{{- define "locksmith.recommendedLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Namespaces with provisioners, as JSON: those that are searched, and those of provisioners that the configuration names. */}}
{{- define "locksmith.provisionerNamespaces" -}}
{{- $all := .Values.provisionerNamespaces }}
{{- range .Values.config.drivers }}
{{- with (dig "provisioner" "namespace" "" .) }}{{ $all = append $all . }}{{ end }}
{{- end }}
{{- toJson (uniq $all) }}
{{- end }}

{{- define "locksmith.config" -}}
{{- $_ := include "locksmith.validate" . }}
{{- $server := dict }}
{{- if .Values.tlsSecret }}
{{- $_ := set $server "tls" (dict "certificate" "/etc/locksmith/tls/tls.crt" "key" "/etc/locksmith/tls/tls.key") }}
{{- end }}
{{- with .Values.auth }}
{{- if .tokenSecret }}
{{- $_ := set $server "auth" (dict "tokenFile" "/etc/locksmith/auth/token" "metrics" .metrics) }}
{{- else if .kubernetes }}
{{- $_ := set $server "auth" (dict "kubernetes" true "metrics" .metrics) }}
{{- end }}
{{- end }}
{{- $own := dict "mode" .Values.mode }}
{{- with $server }}{{ $_ := set $own "server" . }}{{ end }}
{{- if ne (toJson .Values.provisionerNamespaces) "[\"rook-ceph\"]" }}
{{- $_ := set $own "provisionerNamespaces" .Values.provisionerNamespaces }}
{{- end }}
{{- mustMergeOverwrite (deepCopy .Values.config) $own | toYaml }}
{{- end }}

{{/* The steps of all playbooks: those of the configuration, or else of the defaults. */}}
{{- define "locksmith.steps" -}}
{{- $defaults := .Files.Get "files/locksmith.yaml" | fromYaml }}
{{- $steps := list }}
{{- range default $defaults.playbooks .Values.config.playbooks }}{{ $steps = concat $steps .steps }}{{ end }}
{{- $steps | uniq | toJson }}
{{- end }}

{{/* Rights for releasing a hold, in the namespace of the SnapshotHolds. */}}
{{- define "locksmith.releaseRules" -}}
- apiGroups: [locksmith.dev]
  resources: [snapshotholds]
  verbs: [get, patch, delete]
{{- end }}

{{- define "locksmith.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "locksmith.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "locksmith.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

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

{{/* The files of a client as sources of a projected volume. The dict has the name and the values of the client. */}}
{{- define "locksmith.clientSources" -}}
{{- $name := .name }}
{{- with .client }}
{{- if .tokenSecret }}
- secret: {name: {{ .tokenSecret | quote }}, items: [{key: token, path: {{ $name }}/token}]}
{{- end }}
{{- if .tokenAudience }}
- serviceAccountToken: {audience: {{ .tokenAudience | quote }}, expirationSeconds: 3600, path: {{ $name }}/token}
{{- end }}
{{- if .passwordSecret }}
- secret: {name: {{ .passwordSecret | quote }}, items: [{key: password, path: {{ $name }}/password}]}
{{- end }}
{{- if .caSecret }}
- secret: {name: {{ .caSecret | quote }}, items: [{key: ca.crt, path: {{ $name }}/ca.crt}]}
{{- end }}
{{- if .caConfigMap }}
- configMap: {name: {{ .caConfigMap | quote }}, items: [{key: ca.crt, path: {{ $name }}/ca.crt}]}
{{- end }}
{{- end }}
{{- end }}

{{/* The sources of both clients; empty if there are none. */}}
{{- define "locksmith.clientFiles" -}}
{{- range $name, $client := .Values.clients }}
{{- with include "locksmith.clientSources" (dict "name" $name "client" $client) | trim }}
{{ . }}
{{- end }}
{{- end }}
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
{{- range $name, $client := .Values.clients }}
{{- $files := printf "/etc/locksmith/clients/%s" $name }}
{{- $http := dict }}
{{- if or .tokenSecret .tokenAudience }}{{ $_ := set $http "tokenFile" (printf "%s/token" $files) }}{{ end }}
{{- if .username }}
{{- $_ := set $http "basicAuth" (dict "username" .username "passwordFile" (printf "%s/password" $files)) }}
{{- end }}
{{- if or .caSecret .caConfigMap }}{{ $_ := set $http "caFile" (printf "%s/ca.crt" $files) }}{{ end }}
{{- with $http }}{{ $_ := set $own $name (dict "http" .) }}{{ end }}
{{- end }}
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

{{- define "locksmith.labels" -}}
app.kubernetes.io/name: locksmith
{{- end }}

{{- define "locksmith.config" -}}
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
{{- mustMergeOverwrite (deepCopy .Values.config) $own | toYaml }}
{{- end }}

{{/* The steps that any playbook has: those of the configuration, or else of the defaults. */}}
{{- define "locksmith.steps" -}}
{{- $steps := list "suspendSources" "deleteFailedSnapshots" "restartProvisioner" "verifyProvisioning" "resumeSources" "deleteOrphanedSources" }}
{{- with .Values.config.playbooks }}
{{- $steps = list }}
{{- range . }}{{ $steps = concat $steps .steps }}{{ end }}
{{- end }}
{{- $steps | uniq | toJson }}
{{- end }}

{{/* What any release of a hold takes. */}}
{{- define "locksmith.releaseRules" -}}
- apiGroups: [volsync.backube]
  resources: [replicationsources]
  verbs: [get, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, patch]
{{- end }}

{{- define "locksmith.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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

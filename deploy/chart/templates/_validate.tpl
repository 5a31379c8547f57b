{{/*
Faults that `locksmith check-config` refuses and no schema can express: fields that contradict each other. The messages are the same,
so that one search finds both. values.schema.json, which is generated from the program, checks single values.
*/}}
{{- define "locksmith.validate" -}}
{{- $given := .Values.config }}
{{- $defaults := .Files.Get "files/locksmith.yaml" | fromYaml }}
{{- $config := mustMergeOverwrite (deepCopy $defaults) (deepCopy $given) }}
{{- $playbooks := default $defaults.playbooks $given.playbooks }}
{{/* A merge treats a given 0 as not given. */}}
{{- $maxDeletions := dig "gates" "maxDeletions" $defaults.gates.maxDeletions $given }}
{{- $faults := list }}

{{- if lt (include "locksmith.seconds" $config.remediation.keepFor | float64) (include "locksmith.seconds" $config.gates.budgets.within | float64) }}
{{- $faults = append $faults "remediation.keepFor: must not be shorter than gates.budgets.within" }}
{{- end }}
{{- if and $config.gates.promql (not $config.prometheus.url) }}
{{- $faults = append $faults "gates.promql: requires prometheus.url" }}
{{- end }}
{{- range $section := list "prometheus" "alertmanager" }}
{{- $http := (get $config .).http }}
{{- if and $http.tokenFile $http.basicAuth }}
{{- $faults = append $faults (printf "%s.http.basicAuth: must be null if tokenFile is set" .) }}
{{- end }}
{{- $seen := list }}
{{- range $header, $_ := $http.headers }}
{{- $name := lower $header }}
{{- $path := printf "%s.http.headers.%s" $section $header }}
{{- if not (regexMatch "^[!#$%&'*+.^_`|~0-9a-z-]+$" $name) }}
{{- $faults = append $faults (printf "%s: is not a valid header name" $path) }}
{{- else if has $name (list "accept-encoding" "api-key" "apikey" "authorization" "connection" "content-encoding" "content-length" "content-type" "cookie" "host" "keep-alive" "proxy-authorization" "te" "transfer-encoding" "upgrade" "user-agent" "x-api-key" "x-auth-token") }}
{{- $faults = append $faults (printf "%s: is set by locksmith itself, or a credential; those belong in tokenFile or basicAuth" $path) }}
{{- else if has $name $seen }}
{{- $faults = append $faults (printf "%s: is listed twice; case does not matter" $path) }}
{{- end }}
{{- $seen = append $seen $name }}
{{- end }}
{{- if eq (include "locksmith.seconds" (get $config .).interval | float64) 0.0 }}
{{- $faults = append $faults (printf "%s.interval: must be longer than 0s" .) }}
{{- end }}
{{- end }}
{{- range $driver := $config.drivers }}
{{- range $pattern := $driver.lockPatterns }}
{{- $_ := mustRegexMatch $pattern "" }}
{{- end }}
{{- end }}
{{- range $config.alertmanager.require }}
{{- $_ := include "locksmith.matchesNoLabel" . }}
{{- end }}

{{- range $name, $playbook := $playbooks }}
{{- $path := printf "playbooks.%s" $name }}
{{- $steps := $playbook.steps }}
{{- range $at, $line := $playbook.alerts }}
{{- $matchesAll := true }}
{{- range $line }}
{{- if ne (include "locksmith.matchesNoLabel" .) "true" }}{{ $matchesAll = false }}{{ end }}
{{- end }}
{{- if $matchesAll }}
{{- $faults = append $faults (printf "%s.alerts[%d]: matches an alert without any label; require one, such as alertname=\"X\"" $path $at) }}
{{- end }}
{{- end }}
{{- if and (has "deleteOrphanedSources" $steps) (not $playbook.approval) }}
{{- $faults = append $faults (printf "%s.approval: must be true" $path) }}
{{- end }}
{{- if and (or (has "deleteFailedSnapshots" $steps) (has "deleteOrphanedSources" $steps)) (eq (int $maxDeletions) 0) }}
{{- $faults = append $faults (printf "%s.steps: delete objects, but gates.maxDeletions is 0" $path) }}
{{- end }}
{{- if and (has "suspendSources" $steps) (not (has "resumeSources" $steps)) }}
{{- $faults = append $faults (printf "%s.steps: suspendSources must be followed by resumeSources" $path) }}
{{- end }}
{{- if has "resumeSources" $steps }}
{{- if not (has "suspendSources" $steps) }}
{{- $faults = append $faults (printf "%s.steps: resumeSources must be preceded by suspendSources" $path) }}
{{- else if ne (last $steps) "resumeSources" }}
{{- $faults = append $faults (printf "%s.steps: resumeSources must be the last step" $path) }}
{{- end }}
{{- end }}
{{- $verified := false }}
{{- range $steps }}
{{- if eq . "verifyProvisioning" }}{{ $verified = true }}{{ end }}
{{- if and $verified (eq . "restartProvisioner") }}
{{- $faults = append $faults (printf "%s.steps: verifyProvisioning must come after restartProvisioner" $path) }}
{{- end }}
{{- end }}
{{- end }}

{{- $all := list }}
{{- range $faults }}{{ $all = append $all (printf "config.%s" .) }}{{ end }}
{{- range $name, $client := .Values.clients }}
{{- $section := get $config $name }}
{{- $http := $section.http }}
{{- $token := or .tokenSecret .tokenAudience }}
{{- $basic := or .username .passwordSecret }}
{{- if and (or $token $basic .caSecret .caConfigMap) (not $section.url) }}
{{- $all = append $all (printf "clients.%s: has no effect without config.%s.url" $name $name) }}
{{- end }}
{{- if ne (empty .username) (empty .passwordSecret) }}
{{- $all = append $all (printf "clients.%s.username: must be set together with passwordSecret" $name) }}
{{- end }}
{{- if and (or $token $http.tokenFile) .username }}
{{- $all = append $all (printf "clients.%s.username: must be empty if a token is set" $name) }}
{{- end }}
{{- if and .tokenSecret .tokenAudience }}
{{- $all = append $all (printf "clients.%s.tokenAudience: must be empty if tokenSecret is set" $name) }}
{{- end }}
{{- if and $token (or $http.tokenFile $http.basicAuth) }}
{{- $field := ternary "tokenSecret" "tokenAudience" (not (empty .tokenSecret)) }}
{{- $other := ternary "tokenFile" "basicAuth" (not (empty $http.tokenFile)) }}
{{- $all = append $all (printf "clients.%s.%s: must be empty if config.%s.http.%s is set" $name $field $name $other) }}
{{- end }}
{{- if and .username $http.basicAuth }}
{{- $all = append $all (printf "clients.%s.username: must be empty if config.%s.http.basicAuth is set" $name $name) }}
{{- end }}
{{- if and .caSecret .caConfigMap }}
{{- $all = append $all (printf "clients.%s.caConfigMap: must be empty if caSecret is set" $name) }}
{{- end }}
{{- if and (or .caSecret .caConfigMap) $http.caFile }}
{{- $field := ternary "caSecret" "caConfigMap" (not (empty .caSecret)) }}
{{- $all = append $all (printf "clients.%s.%s: must be empty if config.%s.http.caFile is set" $name $field $name) }}
{{- end }}
{{- end }}
{{- if $all }}
{{- fail (printf "\n%s" (join "\n" $all)) }}
{{- end }}
{{- end }}

{{/* Seconds of a duration such as `2h 30m`. */}}
{{- define "locksmith.seconds" -}}
{{- $units := dict "ns" 1e-9 "us" 1e-6 "ms" 1e-3 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "w" 604800.0 "M" 2630016.0 "y" 31557600.0 }}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9]+\\s*[a-zA-Zµ]+" . -1 }}
{{- $number := regexFind "[0-9]+" . | float64 }}
{{- $word := regexFind "[a-zA-Zµ]+" . }}
{{- $unit := substr 0 1 $word }}
{{- if or (hasPrefix "ns" $word) (hasPrefix "us" $word) (hasPrefix "ms" $word) }}{{ $unit = substr 0 2 $word }}{{ end }}
{{- if hasPrefix "µ" $word }}{{ $unit = "us" }}{{ end }}
{{- if hasPrefix "month" $word }}{{ $unit = "M" }}{{ end }}
{{- $seconds = addf $seconds (mulf $number (get $units $unit)) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{/* Whether a matcher in Alertmanager's notation matches an alert that lacks its label. Fails on a regular expression that cannot be read. */}}
{{- define "locksmith.matchesNoLabel" -}}
{{- $operator := regexFind "=~|!~|!=|=" . }}
{{- $value := regexReplaceAll "^\\s*[A-Za-z0-9_]+\\s*(=~|!~|!=|=)\\s*" . "" | trim | trimAll "\"" }}
{{- $hit := eq $value "" }}
{{- if hasSuffix "~" $operator }}{{ $hit = mustRegexMatch (printf "^(?:%s)$" $value) "" }}{{ end }}
{{- if hasPrefix "!" $operator }}{{ not $hit }}{{ else }}{{ $hit }}{{ end }}
{{- end }}

{{/* The labels of a part: (list $ "service") */}}
{{- define "poem.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: mansion-poem
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* What every pod is: not root, no token of the cluster, and no POEM_PORT made of the address of a service called poem. */}}
{{- define "poem.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "poem.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "poem.port" -}}
{{- get (dict "ollama" "11434" "llama-server" "8080" "vllm" "8000") . -}}
{{- end }}

{{/* Copies of one part stand on different machines where there are such. */}}
{{- define "poem.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "poem.labels" . | nindent 8 }}
{{- end }}

{{/* What an engine is called that may be another model than the others': (list $ $engine) */}}
{{- define "poem.model" -}}
{{- (index . 1).model | default (index . 0).Values.model -}}
{{- end }}

{{/* Every engine's pod that may ever be, as POEM_ENGINES lists it: a StatefulSet's names are known beforehand. */}}
{{- define "poem.engines" -}}
{{- $all := list }}
{{- range $name, $given := .Values.engines }}
{{- $engine := merge (deepCopy $given) $.Values.engineDefaults }}
{{- $set := printf "%s-%s" $.Release.Name $name }}
{{- $share := ternary (printf "%d%%:" (int $engine.share)) "" (gt (int $engine.share) 0) }}
{{- $kind := ternary "ollama" "openai" (eq $engine.kind "ollama") }}
{{- $model := ternary (printf "#%s" $engine.model) "" (ne $engine.model "") }}
{{- range $n := until (int (max $engine.replicas $engine.maxReplicas)) }}
{{- $all = append $all (printf "%s%s=http://%s-%d.%s:%s%s" $share $kind $set $n $set (include "poem.port" $engine.kind) $model) }}
{{- end }}
{{- end }}
{{- join ", " $all }}
{{- end }}

{{/* Which engine the service asks: none, one by its own setting, or several by POEM_ENGINES. */}}
{{- define "poem.engine-settings" -}}
{{- $all := include "poem.engines" . }}
{{- if not $all }}
- {name: POEM_ENGINE, value: none}
{{- else if regexMatch "[#%,]" $all }}
- {name: POEM_ENGINES, value: {{ $all | quote }}}
{{- else }}
{{- $parts := splitn "=" 2 $all }}
- {name: POEM_ENGINE, value: {{ $parts._0 }}}
- {name: {{ ternary "OLLAMA_HOST" "POEM_OPENAI_URL" (eq $parts._0 "ollama") }}, value: {{ $parts._1 | quote }}}
{{- end }}
{{- end }}

{{/* Answers that a copy may have under way: POEM_MAX_ACTIVE is each engine's. */}}
{{- define "poem.under-way" -}}
{{- $engines := 0 }}
{{- range .Values.engines }}
{{- $engines = add $engines (.replicas | default $.Values.engineDefaults.replicas) }}
{{- end }}
{{- mul .Values.service.maxActive (max 1 $engines) }}
{{- end }}

{{/* Variables from the secret, each if it has it: (list $ "NAME" "KEY" "NAME" "KEY" …) */}}
{{- define "poem.secrets" -}}
{{- $root := first . -}}
{{- if $root.Values.secret }}
{{- range $pair := chunk 2 (rest .) }}
- name: {{ first $pair }}
  valueFrom: {secretKeyRef: {name: {{ $root.Values.secret }}, key: {{ last $pair }}, optional: true}}
{{- end }}
{{- end }}
{{- end }}

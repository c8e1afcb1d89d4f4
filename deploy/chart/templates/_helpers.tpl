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

{{/* Every engine's pod that may ever be, as `kind URL`, a line each: a StatefulSet's names are known beforehand. */}}
{{- define "poem.engines" -}}
{{- range $name, $given := .Values.engines }}
{{- $engine := merge (deepCopy $given) $.Values.engineDefaults }}
{{- $set := printf "%s-%s" $.Release.Name $name }}
{{- range $n := until (int (max $engine.replicas $engine.maxReplicas)) }}
{{ ternary "ollama" "openai" (eq $engine.kind "ollama") }} http://{{ $set }}-{{ $n }}.{{ $set }}:{{ include "poem.port" $engine.kind }}
{{- end }}
{{- end }}
{{- end }}

{{/* Which engine the service asks: none, one by its own setting, or several by POEM_ENGINES. */}}
{{- define "poem.engine-settings" -}}
{{- $all := include "poem.engines" . | trim -}}
{{- $lines := ternary (list) (splitList "\n" $all) (empty $all) -}}
{{- if eq (len $lines) 0 }}
- {name: POEM_ENGINE, value: none}
{{- else if eq (len $lines) 1 }}
{{- $parts := splitList " " (first $lines) }}
- {name: POEM_ENGINE, value: {{ first $parts }}}
- {name: {{ ternary "OLLAMA_HOST" "POEM_OPENAI_URL" (eq (first $parts) "ollama") }}, value: {{ last $parts | quote }}}
{{- else }}
- {name: POEM_ENGINES, value: {{ join ", " $lines | quote }}}
{{- end }}
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

{{/* The configuration file. */}}
{{- define "ecs-authz.config" -}}
[shutdown]
delay_seconds = {{ .Values.shutdown.delaySeconds }}
limit_seconds = {{ .Values.shutdown.limitSeconds }}

{{ with .Values.tls }}
{{- if .secretName -}}
# Files are read again when they change.
[tls]
{{ include "ecs-authz.certificate" . }}
{{- if .clientCa }}
client_ca = "/etc/ecs-authz/tls/ca.crt"
{{- end }}

{{ if .http -}}
[http.tls]
{{ include "ecs-authz.certificate" . }}

{{ end }}
{{- end }}
{{- end }}
{{- if .Values.admin.enabled -}}
[admin]
addr = "0.0.0.0:50052"

[admin.tls]
{{ include "ecs-authz.certificate" .Values.tls }}

{{ range .Values.admin.tokenKeys -}}
[[admin.token]]
name = {{ . | quote }}
file = "/etc/ecs-authz/admin/{{ . }}"

{{ end }}
{{- end }}
{{- .Values.config | trim }}
{{- end }}

{{- define "ecs-authz.certificate" -}}
certificate = "/etc/ecs-authz/tls/tls.crt"
key = "/etc/ecs-authz/tls/tls.key"
minimum_version = {{ .minimumVersion | quote }}
{{- end }}

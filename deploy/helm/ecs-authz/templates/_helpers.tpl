{{- define "ecs-authz.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ecs-authz.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "ecs-authz.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ecs-authz.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What a selector names: it can't change while the release lives. */}}
{{- define "ecs-authz.selector" -}}
app.kubernetes.io/name: {{ include "ecs-authz.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ecs-authz.labels" -}}
{{ include "ecs-authz.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ecs-authz.serviceAccountName" -}}
{{- default (include "ecs-authz.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "ecs-authz.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "ecs-authz.isOnPostgres" -}}
{{- if eq .Values.policies.source "postgres" }}true{{ end }}
{{- end }}

{{- define "ecs-authz.isHttpOverTls" -}}
{{- if and .Values.tls.secretName .Values.tls.http }}true{{ end }}
{{- end }}

{{/* Keys of a ConfigMap have no slashes. */}}
{{- define "ecs-authz.policyKey" -}}
{{- replace "/" "__" . | replace " " "_" }}
{{- end }}

{{- define "ecs-authz.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# So that it can read what Secrets mount.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ecs-authz.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
{{- end }}

{{/* What can't be meant, and the schema of the values can't tell. */}}
{{- define "ecs-authz.check" -}}
{{- if and (not .Values.tls.secretName) (not .Values.insecure) -}}
{{- fail "expected `tls.secretName`, or `insecure: true` if something else protects the traffic" }}
{{- end }}
{{- if and .Values.tls.secretName .Values.insecure -}}
{{- fail "expected `tls.secretName: \"\"` with `insecure: true`: which of them is meant?" }}
{{- end }}
{{- if and .Values.admin.enabled (not .Values.tls.secretName) -}}
{{- fail "expected `tls.secretName` with `admin.enabled`: tokens must not travel in the clear" }}
{{- end }}
{{- if and .Values.admin.enabled (not (include "ecs-authz.isOnPostgres" .)) -}}
{{- fail "expected `policies.source: postgres` with `admin.enabled`: it writes to the database" }}
{{- end }}
{{- if not (include "ecs-authz.isOnPostgres" .) -}}
{{- if and (not .Values.policies.directory.files) (not .Values.policies.directory.volume) -}}
{{- fail "expected `policies.directory.files` or `policies.directory.volume` with `policies.source: directory`" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the pods may reach. */}}
{{- define "ecs-authz.egress" -}}
egress:
{{- if include "ecs-authz.isOnPostgres" . }}
  - to:
      {{- toYaml .Values.networkPolicy.dns | nindent 6 }}
    ports:
      - {port: 53, protocol: UDP}
      - {port: 53, protocol: TCP}
  - to:
      {{- toYaml .Values.networkPolicy.database | nindent 6 }}
    ports:
      - {port: {{ .Values.networkPolicy.databasePort }}, protocol: TCP}
{{- else if not .Values.networkPolicy.extraEgress }} []
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}

{{/* One that the kubelet asks over HTTP. */}}
{{- define "ecs-authz.probe" -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  scheme: {{ if include "ecs-authz.isHttpOverTls" (index . 0) }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{/* The volume with the URL of the database, and the authorities of its certificate: files are in no list of variables. */}}
{{- define "ecs-authz.database" -}}
- name: database
  projected:
    defaultMode: 288
    sources:
      - secret:
          name: {{ .secretName }}
          items:
            - {key: {{ .urlKey }}, path: url}
      {{- with .caSecretName }}
      - secret:
          name: {{ . }}
          items:
            - {key: ca.crt, path: ca.crt}
      {{- end }}
{{- end }}

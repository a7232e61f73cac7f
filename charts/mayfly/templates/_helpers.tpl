{{- define "mayfly.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "mayfly.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "mayfly.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mayfly.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Cluster-wide names hold the namespace: two releases may share a name. */}}
{{- define "mayfly.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "mayfly.fullname" .) }}
{{- end }}

{{- define "mayfly.selector" -}}
app.kubernetes.io/name: {{ include "mayfly.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mayfly.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "mayfly.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "mayfly.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mayfly.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mayfly.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* The port in an address of the configuration, so that it is written in one place. */}}
{{- define "mayfly.port" -}}
{{- regexFind "[0-9]+$" (toString .) }}
{{- end }}

{{- /* What pod security "restricted" asks of a container, and a file system that nobody writes. */}}
{{- define "mayfly.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "mayfly.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- /* The secrets that there are: file, variable that names the file, and where it comes from. */}}
{{- define "mayfly.secrets" -}}
{{- $s := .Values.secrets }}
{{- $app := not (empty $s.githubAppPrivateKey.existingSecret) }}
{{- range list
      (list "ledger-url" "MAYFLY_LEDGER__URL_FILE" $s.ledgerUrl)
      (list "databases-admin-url" "MAYFLY_DATABASES__ADMIN_URL_FILE" $s.databasesAdminUrl)
      (list "github-token" "MAYFLY_GITHUB__TOKEN_FILE" (ternary dict $s.githubToken $app))
      (list "github-app-private-key" "MAYFLY_GITHUB__APP__PRIVATE_KEY_FILE" $s.githubAppPrivateKey)
      (list "github-webhook-secret" "MAYFLY_GITHUB__WEBHOOK_SECRET_FILE" $s.githubWebhookSecret)
      (list "github-webhook-secret-previous" "MAYFLY_GITHUB__WEBHOOK_SECRET_PREVIOUS_FILE" $s.githubWebhookSecretPrevious)
      (list "dns-tsig-key" "" $s.dnsTsigKey) }}
{{- $from := index . 2 }}
{{- if $from.existingSecret }}
- {file: {{ index . 0 }}, variable: {{ index . 1 | quote }}, secret: {{ $from.existingSecret | quote }}, key: {{ $from.key | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* The same environment and mounts for migrating and serving: both read the whole configuration. */}}
{{- define "mayfly.environment" -}}
- name: MAYFLY_CONFIG
  value: /etc/mayfly/mayfly.yaml
- name: MAYFLY_LOG
  value: {{ .Values.logLevel | quote }}
{{- range include "mayfly.secrets" . | fromYamlArray }}
{{- if .variable }}
- name: {{ .variable }}
  value: /etc/mayfly/secrets/{{ .file }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mayfly.mounts" -}}
- name: config
  mountPath: /etc/mayfly/mayfly.yaml
  subPath: mayfly.yaml
  readOnly: true
- name: secrets
  mountPath: /etc/mayfly/secrets
  readOnly: true
# Where teams' charts are rendered (tools.work_dir): the one place that can be written.
- name: tmp
  mountPath: /tmp
{{- range .Values.seeds }}
- name: seed-{{ .name }}
  mountPath: /etc/mayfly/seeds/{{ .name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

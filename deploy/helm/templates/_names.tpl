{{/* The name of all objects: two releases in one namespace have two names, and select only their own pods. */}}
{{- define "killswitch.name" -}}
{{- .Values.nameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the pods. Never the chart's version: a Deployment's selector cannot change. */}}
{{- define "killswitch.selector" -}}
app.kubernetes.io/name: {{ include "killswitch.name" . }}
{{- end -}}

{{- define "killswitch.labels" -}}
{{ include "killswitch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "killswitch.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "killswitch.rules" -}}
{{- if and .Values.rules.files .Values.rules.existingConfigMap -}}
{{- fail "rules.files and rules.existingConfigMap exclude each other: the rule files are in one of them" -}}
{{- end -}}
{{- .Values.rules.existingConfigMap | default (printf "%s-rules" (include "killswitch.name" .)) -}}
{{- end -}}

{{/* The ConfigMap of role files; empty without any. */}}
{{- define "killswitch.roles" -}}
{{- if and .Values.roles.files .Values.roles.existingConfigMap -}}
{{- fail "roles.files and roles.existingConfigMap exclude each other: the role files are in one of them" -}}
{{- end -}}
{{- if .Values.roles.files -}}
{{- printf "%s-roles" (include "killswitch.name" .) -}}
{{- else -}}
{{- .Values.roles.existingConfigMap -}}
{{- end -}}
{{- end -}}

{{- define "killswitch.secret" -}}
{{- if and .Values.secret.create .Values.secret.existing -}}
{{- fail "secret.create and secret.existing exclude each other: name your Secret, or let the chart make one" -}}
{{- end -}}
{{- if .Values.secret.create -}}
{{- range $setting, $key := .Values.secretFiles -}}
{{- if not (hasKey $.Values.secret.create $key) -}}
{{- fail (printf "secretFiles.%s is the key %s, which secret.create does not have: add it there" $setting $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- .Values.secret.existing | default (include "killswitch.name" .) -}}
{{- end -}}

{{/* The daemon's environment. It reads settings at start only, so the Deployment carries a checksum of this. */}}
{{- define "killswitch.environment" -}}
{{- range $setting, $value := .Values.settings -}}
{{- if regexMatch "//[^/?#]*@" (toString $value) -}}
{{- /* without the value: this is read in logs of pipelines */}}
{{- fail (printf "settings.%s has a user or a password in its address, and settings are in a ConfigMap. Name the user in the setting for it, and the password's key of the Secret in secretFiles" $setting) -}}
{{- end -}}
{{- end -}}
{{- $name := include "killswitch.name" . -}}
{{- $service := list $name (printf "%s.%s" $name .Release.Namespace) -}}
{{- $service = append $service (printf "%s.%s.svc" $name .Release.Namespace) -}}
{{- $service = append $service (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) -}}
KILLSWITCH_RULES: /etc/killswitch/rules
{{- if include "killswitch.roles" . }}
KILLSWITCH_ROLES: /etc/killswitch/roles
{{- end }}
{{- /* all addresses: the kubelet asks for health from outside the pod */}}
KILLSWITCH_LISTEN: 0.0.0.0:8080
{{- /* the Service's names, for pods that ask it for flags */}}
KILLSWITCH_HOST_NAMES: {{ join "," (concat $service .Values.hostNames) }}
KILLSWITCH_STORE: {{ include "killswitch.store" . | quote }}
KILLSWITCH_SOURCE: {{ include "killswitch.source" . | quote }}
{{- if .Values.etcd.enabled }}
KILLSWITCH_STORE_CA_FILE: /etc/killswitch/etcd/ca.crt
KILLSWITCH_STORE_CERT_FILE: /etc/killswitch/etcd/tls.crt
KILLSWITCH_STORE_KEY_FILE: /etc/killswitch/etcd/tls.key
{{- range $setting := list "store_ca_file" "store_cert_file" "store_key_file" }}
{{- if hasKey $.Values.secretFiles $setting }}
{{- fail (printf "secretFiles.%s and etcd.enabled exclude each other: the chart's etcd has certificates of its own" $setting) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $setting, $value := .Values.settings }}
{{- if not (or (kindIs "invalid" $value) (has $setting (list "store" "source"))) }}
KILLSWITCH_{{ upper $setting }}: {{ kindIs "float64" $value | ternary (int64 $value) $value | toString | quote }}
{{- end }}
{{- end }}
{{- range $setting, $key := .Values.secretFiles }}
KILLSWITCH_{{ upper $setting }}: /etc/killswitch/secrets/{{ $key }}
{{- end }}
{{- end -}}

{{/* The seconds of a duration such as 1h30m. */}}
{{- define "killswitch.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $sum := 0.0 -}}
{{- range $part := regexFindAll "[0-9.]+ ?(ms|[smhd])" . -1 -}}
{{- $sum = addf $sum (mulf (regexFind "^[0-9.]+" $part | float64) (get $units (regexFind "[a-z]+$" $part))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

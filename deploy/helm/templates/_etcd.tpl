{{/* The chart's own etcd: the name of its objects, and the names of its three members. */}}
{{- define "killswitch.etcd" -}}
{{ include "killswitch.name" . }}-etcd
{{- end -}}

{{- define "killswitch.etcdMembers" -}}
{{- $etcd := include "killswitch.etcd" . -}}
{{- $members := list -}}
{{- range $number := until 3 -}}
{{- $members = append $members (printf "%s-%d.%s.%s.svc" $etcd $number $etcd $.Release.Namespace) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{/* The address of the flag store: the chart's etcd, or the one in the settings. */}}
{{- define "killswitch.store" -}}
{{- if .Values.etcd.enabled -}}
etcds://{{ include "killswitch.etcdMembers" . | replace "," ":2379," }}:2379
{{- else -}}
{{ required "settings.store is missing: name your etcd, or set etcd.enabled=true" .Values.settings.store }}
{{- end -}}
{{- end -}}

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
{{- /* the address in values.yaml is an example, and not someone's choice */}}
{{- if not (has .Values.settings.store (list nil "" "etcds://etcd.etcd.svc:2379")) -}}
{{- fail (printf "settings.store and etcd.enabled exclude each other: settings.store names %s, and the chart's own etcd would begin without its flags. Take one of them out" .Values.settings.store) -}}
{{- end -}}
etcds://{{ include "killswitch.etcdMembers" . | replace "," ":2379," }}:2379
{{- else -}}
{{ required "settings.store is missing: name your etcd, or set etcd.enabled=true" .Values.settings.store }}
{{- end -}}
{{- end -}}

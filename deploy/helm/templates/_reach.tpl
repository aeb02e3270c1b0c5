{{/*
The egress rules for the addresses in the settings. A policy that contradicts an address would look like a server that is
down, so the rules are made from the addresses: a Service's namespace and port, or an IP address and port.
*/}}

{{/* The addresses of one URL, or of several with commas, as JSON: [{host, port}]. A file has none. */}}
{{- define "killswitch.addresses" -}}
{{- $scheme := regexFind "^[a-z+]+:" . -}}
{{- $standard := dict "etcd:" 2379 "etcds:" 2379 "smtp:" 587 "smtps:" 465 -}}
{{- $found := list -}}
{{- if not (has $scheme (list "sqlite:" "file:" "recording:")) -}}
{{- range $target := splitList "," . -}}
  {{- $own := regexFind "^[a-z+]+:" (trim $target) | default $scheme -}}
  {{- $address := regexFind "^[^/?#]+" (regexReplaceAll "^([a-z+]+:)?//" (trim $target) "") -}}
  {{- $address = regexReplaceAll "^.*@" $address "" -}}
  {{- $port := index $standard $own | default (hasSuffix "https:" $own | ternary 443 80) -}}
  {{- with regexFind ":[0-9]+$" $address -}}{{- $port = trimPrefix ":" . | int -}}{{- end -}}
  {{- $host := regexReplaceAll ":[0-9]+$" $address "" | trimSuffix "." -}}
  {{- $found = append $found (dict "host" $host "port" $port) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Where a host is: an IP block, or the namespace of a Service. Empty for any other name. */}}
{{- define "killswitch.place" -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+){3}$" .host -}}
{{ .host }}/32
{{- else if regexMatch "^[^.]+(\\.[^.]+)*\\.[^.]+\\.svc(\\..+)?$" .host -}}
{{ regexReplaceAll "^.*?([^.]+)\\.svc(\\..*)?$" .host "${1}" }}
{{- else if not (or (contains "." .host) (contains ":" .host)) -}}
{{ .namespace }}
{{- end -}}
{{- end -}}

{{/* The address of the metric store. */}}
{{- define "killswitch.source" -}}
{{- required "settings.source is missing: name your Prometheus, such as prometheus+http://prometheus-operated.monitoring.svc:9090" .Values.settings.source -}}
{{- end -}}

{{/* Rules for a dict: place -> ports. */}}
{{- define "killswitch.egress" -}}
{{- range $place, $ports := . }}
- to:
    {{- if contains "/" $place }}
    - ipBlock:
        cidr: {{ $place }}
    {{- else }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $place }}
    {{- end }}
  ports:
    {{- range uniq $ports }}
    - port: {{ int . }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Rules for a store. Call it with a dict: root, what ("store" or "source"). */}}
{{- define "killswitch.reach" -}}
{{- $given := index .root.Values.networkPolicy .what -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $url := eq .what "store" | ternary (include "killswitch.store" .root) (include "killswitch.source" .root) -}}
{{- $reached := dict -}}
{{- range $one := include "killswitch.addresses" $url | fromJsonArray -}}
  {{- $places := include "killswitch.place" (dict "host" $one.host "namespace" $namespace) | list | compact -}}
  {{- /* also for a Service: it may lead to addresses outside of the cluster */}}
  {{- $places = concat $places $given.cidrs | uniq -}}
  {{- if not $places -}}
    {{- fail (printf "settings.%s names %s, which is no Service of this cluster. Say in networkPolicy.%s.cidrs at which addresses it is, such as [10.1.2.0/24]: the policy would stop the daemon there" $.what $one.host $.what) -}}
  {{- end -}}
  {{- range $place := $places -}}
    {{- $known := index $reached $place | default list -}}
    {{- $_ := set $reached $place (concat $known ($given.ports | default (list (int $one.port)))) -}}
  {{- end -}}
{{- end -}}
{{- include "killswitch.egress" $reached -}}
{{- end -}}

{{/* The receivers of pages that settings name, as JSON: inside (place -> ports), and the ports of those on the internet. */}}
{{- define "killswitch.receivers" -}}
{{- $inside := dict -}}
{{- $ports := .Values.networkPolicy.internet.ports -}}
{{- range $setting := list "alertmanager_urls" "opsgenie_url" "pagerduty_url" "slack_base_url" "smtp_url" -}}
{{- with index $.Values.settings $setting -}}
{{- range $one := include "killswitch.addresses" (toString .) | fromJsonArray -}}
  {{- $place := include "killswitch.place" (dict "host" $one.host "namespace" $.Release.Namespace) -}}
  {{- if $place -}}
    {{- $_ := set $inside $place (append (index $inside $place | default list) $one.port) -}}
  {{- else -}}
    {{- $ports = append $ports $one.port -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "inside" $inside "ports" $ports | toJson -}}
{{- end -}}

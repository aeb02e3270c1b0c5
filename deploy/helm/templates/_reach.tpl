{{/*
The egress rules for one address of the settings. Call it with a dict: root, what ("store" or "source").
A policy that contradicts the address would look like a server that is down, so the rules are made from the address.
*/}}
{{- define "killswitch.reach" -}}
{{- $given := index .root.Values.networkPolicy .what -}}
{{- $url := eq .what "store" | ternary (include "killswitch.store" .root) (index .root.Values.settings .what | toString) -}}
{{- $scheme := regexFind "^[a-z+]+:" $url -}}
{{- $standard := hasPrefix "etcd" $scheme | ternary "2379" (hasSuffix "https:" $scheme | ternary "443" "80") -}}
{{- $reached := dict -}}
{{- if not (has $scheme (list "sqlite:" "file:" "recording:")) -}}
{{- range $target := splitList "," (trimPrefix $scheme $url) -}}
  {{- $address := regexFind "^[^/?#]+" (regexReplaceAll "^([a-z+]+:)?//" (trim $target) "") -}}
  {{- $address = regexReplaceAll "^.*@" $address "" -}}
  {{- $port := regexFind ":[0-9]+$" $address | trimPrefix ":" | default $standard -}}
  {{- $host := regexReplaceAll ":[0-9]+$" $address "" | trimSuffix "." -}}
  {{- $peers := list -}}
  {{- if regexMatch "^[0-9]+(\\.[0-9]+){3}$" $host -}}
    {{- $peers = list (printf "%s/32" $host) -}}
  {{- else if regexMatch "^[^.]+(\\.[^.]+)*\\.[^.]+\\.svc(\\..+)?$" $host -}}
    {{- $peers = list (regexReplaceAll "^.*?([^.]+)\\.svc(\\..*)?$" $host "${1}") -}}
  {{- else if not (or (contains "." $host) (contains ":" $host)) -}}
    {{- $peers = list $.root.Release.Namespace -}}
  {{- else if $given.cidrs -}}
    {{- $peers = $given.cidrs -}}
  {{- else -}}
    {{- fail (printf "settings.%s names %s, which is no Service of this cluster. Say in networkPolicy.%s.cidrs at which addresses it is, such as [10.1.2.0/24]: the policy would stop the daemon there" $.what $address $.what) -}}
  {{- end -}}
  {{- $ports := $given.ports | default (list (int $port)) -}}
  {{- range $peer := $peers -}}
    {{- $known := index $reached $peer | default list -}}
    {{- range $one := $ports -}}{{- $known = append $known (int $one) -}}{{- end -}}
    {{- $_ := set $reached $peer (uniq $known) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- range $peer, $ports := $reached }}
- to:
    {{- if contains "/" $peer }}
    - ipBlock:
        cidr: {{ $peer }}
    {{- else }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $peer }}
    {{- end }}
  ports:
    {{- range $ports }}
    - port: {{ . }}
    {{- end }}
{{- end }}
{{- end -}}

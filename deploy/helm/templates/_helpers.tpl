{{- define "metaferry.name" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if gt (len $name) 43 -}}
{{- fail (printf "the name %q is longer than 43 characters, which is what leaves room for the names of jobs: set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "metaferry.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "metaferry.name" .) -}}
{{- end -}}

{{- define "metaferry.jobConfigMap" -}}
{{- .Values.jobConfigMap | default (printf "%s-job" (include "metaferry.name" .)) -}}
{{- end -}}

{{/* What pods are found by: of this release alone. */}}
{{- define "metaferry.selector" -}}
app.kubernetes.io/name: metaferry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "metaferry.labels" -}}
{{ include "metaferry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "metaferry.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "metaferry.podLabels" -}}
{{- $own := include "metaferry.selector" . | fromYaml -}}
{{- if eq .Values.cloud "azure" -}}
{{- $own = merge $own (dict "azure.workload.identity/use" "true") -}}
{{- end -}}
{{- toYaml (merge $own .Values.podLabels) -}}
{{- end -}}

{{- define "metaferry.jobAnnotations" -}}
{{- toYaml (merge (deepCopy .Values.podAnnotations) .Values.jobAnnotations) -}}
{{- end -}}

{{/*
The spec of a pod. `top` is the chart, `args` the words of metaferry; `restart`, `resources`, `scratch`,
`environment` (more of envFrom) and `container` (more of the container) are what differs.
*/}}
{{- define "metaferry.pod" -}}
{{- $top := .top -}}
{{- with .restart }}
restartPolicy: {{ . }}
{{- end }}
serviceAccountName: {{ include "metaferry.serviceAccount" $top }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $top.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $top.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ $top.Values.terminationGracePeriodSeconds | int64 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- if $top.Values.spread }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {app.kubernetes.io/name: metaferry}
{{- end }}
{{- with $top.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $top.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $top.Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: metaferry
    image: {{ include "metaferry.image" $top | quote }}
    imagePullPolicy: {{ $top.Values.image.pullPolicy }}
    args: {{ toJson .args }}
    {{- with $top.Values.env }}
    env: {{ toYaml . | nindent 6 }}
    {{- end }}
    envFrom:
      {{- with .environment }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      - secretRef: {name: {{ $top.Values.secret | default (include "metaferry.name" $top) }}, optional: true}
      {{- with $top.Values.envFrom }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .container }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{ toYaml .resources | nindent 6 }}
    volumeMounts:
      - {name: job, mountPath: /etc/metaferry, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      {{- with $top.Values.volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: job
    configMap: {name: {{ include "metaferry.jobConfigMap" $top }}}
  - name: tmp
    emptyDir: {sizeLimit: {{ .scratch }}}
  {{- with $top.Values.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Evicted or preempted: the run drained, and the next pod goes on. The rules of a job begin with it. */}}
{{- define "metaferry.disruption" -}}
- action: Ignore
  onPodConditions:
    - {type: DisruptionTarget, status: "True"}
{{- end -}}

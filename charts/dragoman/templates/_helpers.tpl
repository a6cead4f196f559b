{{- define "dragoman.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The name of what is in the release's namespace. Services' names start with a letter. */}}
{{- define "dragoman.fullname" -}}
{{- $chart := include "dragoman.name" . }}
{{- $name := contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) }}
{{- if regexMatch "^[0-9]" $name }}
{{- $name = printf "%s-%s" $chart .Release.Name }}
{{- end }}
{{- default $name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The name of what belongs to no namespace: another release of that name, elsewhere, must not share it. */}}
{{- define "dragoman.clusterName" -}}
{{ include "dragoman.fullname" . }}-{{ .Release.Namespace }}
{{- end }}

{{/* Fixed for ever: a Deployment's selector cannot be changed, and models' NetworkPolicies let pods with this name in. */}}
{{- define "dragoman.selectorLabels" -}}
app.kubernetes.io/name: dragoman-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "dragoman.labels" -}}
{{ include "dragoman.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: dragoman
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "dragoman.serviceAccount" -}}
{{- default (ternary (include "dragoman.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "dragoman.operatorImage" -}}
{{- default (printf "%s/dragoman-operator:%s" (trimSuffix "/" .Values.image.registry) (default .Chart.AppVersion .Values.image.tag)) .Values.operator.image }}
{{- end }}

{{- define "dragoman.runtimeImage" -}}
{{- default (printf "%s/dragoman-runtime:%s" (trimSuffix "/" .Values.image.registry) (default .Chart.AppVersion .Values.image.tag)) .Values.runtime.image }}
{{- end }}

{{/* Where `helm test` puts its model: somewhere that the operator serves. */}}
{{- define "dragoman.testNamespace" -}}
{{- $served := .Values.operator.namespaces }}
{{- if .Values.test.namespace }}
{{- .Values.test.namespace }}
{{- else if or (empty $served) (has .Release.Namespace $served) }}
{{- .Release.Namespace }}
{{- else }}
{{- first $served }}
{{- end }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a container. */}}
{{- define "dragoman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What the operator does with the objects of the namespaces that it serves. Secrets are not among them. */}}
{{- define "dragoman.rules" -}}
- apiGroups: [dragoman.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch]
- apiGroups: [dragoman.dev]
  resources: [modeldeployments/status]
  verbs: [patch]
- apiGroups: [dragoman.dev]
  resources: [modeldeployments/finalizers] # where OwnerReferencesPermissionEnforcement is on, to be allowed to set blockOwnerDeletion
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: &own [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: *own
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: *own
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: *own
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "provisioning.name" -}}
{{- if contains "provisioning" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-provisioning" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "provisioning.secret" -}}
{{- .Values.existingSecret | default (include "provisioning.name" .) }}
{{- end }}

{{- define "provisioning.selector" -}}
app.kubernetes.io/name: provisioning
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "provisioning.labels" -}}
{{ include "provisioning.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* A deployment of one role: (list $ "api" .Values.api) */ -}}
{{- define "provisioning.deployment" -}}
{{- $ := index . 0 }}
{{- $role := index . 1 }}
{{- $own := index . 2 }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "provisioning.name" $ }}-{{ $role }}
  labels:
    {{- include "provisioning.labels" $ | nindent 4 }}
    app.kubernetes.io/component: {{ $role }}
spec:
  replicas: {{ $own.replicas }}
  selector:
    matchLabels:
      {{- include "provisioning.selector" $ | nindent 6 }}
      app.kubernetes.io/component: {{ $role }}
  template:
    metadata:
      labels:
        {{- include "provisioning.labels" $ | nindent 8 }}
        app.kubernetes.io/component: {{ $role }}
      {{- if not $.Values.existingSecret }}
      annotations:
        checksum/secret: {{ $.Values.secret | toYaml | sha256sum }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "provisioning.name" $ }}
      automountServiceAccountToken: false
      # Longer than a stop in order may take.
      terminationGracePeriodSeconds: 70
      {{- with $.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: { type: RuntimeDefault }
      containers:
        - name: {{ $role }}
          image: "{{ $.Values.image.repository }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}"
          imagePullPolicy: {{ $.Values.image.pullPolicy }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          env:
            - { name: PROVISIONING_ROLE, value: {{ $role }} }
            - { name: PROVISIONING_TRUST_PROXY, value: "1" }
            - name: PROVISIONING_DATABASE_URL
              valueFrom: { secretKeyRef: { name: {{ include "provisioning.secret" $ }}, key: DATABASE_URL } }
            - name: PROVISIONING_MASTER_KEY
              valueFrom: { secretKeyRef: { name: {{ include "provisioning.secret" $ }}, key: MASTER_KEY } }
            - name: PROVISIONING_ADMIN_PASSWORD
              valueFrom: { secretKeyRef: { name: {{ include "provisioning.secret" $ }}, key: ADMIN_PASSWORD, optional: true } }
            {{- range $name, $value := $.Values.settings }}
            - { name: PROVISIONING_{{ $name }}, value: {{ $value | quote }} }
            {{- end }}
            {{- with $.Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- if eq $role "api" }}
          ports:
            - { name: http, containerPort: 8083 }
          startupProbe:
            httpGet: { path: /health/live, port: http }
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: { path: /health/live, port: http }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: { path: /health/ready, port: http }
            periodSeconds: 3
            timeoutSeconds: 5
          {{- end }}
          {{- /* A worker listens nowhere. It ends by itself when it loses its place, and is then started again. */}}
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          volumeMounts:
            - { name: data, mountPath: /data }
            - { name: tmp, mountPath: /tmp }
            {{- if $.Values.workspaces.existingClaim }}
            - { name: workspaces, mountPath: /data/workspaces }
            {{- end }}
      volumes:
        - { name: data, emptyDir: {} }
        - { name: tmp, emptyDir: {} }
        {{- with $.Values.workspaces.existingClaim }}
        - { name: workspaces, persistentVolumeClaim: { claimName: {{ . }} } }
        {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "provisioning.selector" $ | nindent 14 }}
              app.kubernetes.io/component: {{ $role }}
      {{- with $.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "provisioning.name" $ }}-{{ $role }}
  labels:
    {{- include "provisioning.labels" $ | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "provisioning.selector" $ | nindent 6 }}
      app.kubernetes.io/component: {{ $role }}
{{- end }}

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

{{- /* How a probe asks: (list $ "/health/live"). The kubelet has no certificate to show: where clients need one, it only connects. */ -}}
{{- define "provisioning.probe" -}}
{{- $tls := (index . 0).Values.tls -}}
{{- if and $tls.secret $tls.clientCa -}}
tcpSocket: { port: http }
{{- else -}}
httpGet: { path: {{ index . 1 }}, port: http{{ if $tls.secret }}, scheme: HTTPS{{ end }} }
{{- end }}
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
          {{- if $.Values.image.digest }}
          image: "{{ $.Values.image.repository }}@{{ $.Values.image.digest }}"
          {{- else }}
          image: "{{ $.Values.image.repository }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}"
          {{- end }}
          imagePullPolicy: {{ $.Values.image.pullPolicy }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          env:
            - { name: PROVISIONING_ROLE, value: {{ $role }} }
            {{- /* Without a proxy in front, clients could claim any address. */}}
            {{- if or $.Values.ingress.enabled (not $.Values.tls.secret) }}
            - { name: PROVISIONING_TRUST_PROXY, value: "1" }
            {{- end }}
            {{- if and $.Values.tls.secret (eq $role "api") }}
            - { name: PROVISIONING_TLS_CERT_FILE, value: /tls/tls.crt }
            - { name: PROVISIONING_TLS_KEY_FILE, value: /tls/tls.key }
            {{- if $.Values.tls.clientCa }}
            - { name: PROVISIONING_TLS_CLIENT_CA_FILE, value: /tls/ca.crt }
            {{- end }}
            {{- end }}
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
            {{- include "provisioning.probe" (list $ "/health/live") | nindent 12 }}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            {{- include "provisioning.probe" (list $ "/health/live") | nindent 12 }}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            {{- include "provisioning.probe" (list $ "/health/ready") | nindent 12 }}
            periodSeconds: 3
            timeoutSeconds: 5
          {{- end }}
          {{- /* A worker listens nowhere. It ends by itself when it loses its place, and is then started again. */}}
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          volumeMounts:
            - { name: data, mountPath: /data }
            - { name: tmp, mountPath: /tmp }
            {{- if and $.Values.tls.secret (eq $role "api") }}
            - { name: tls, mountPath: /tls, readOnly: true }
            {{- end }}
            {{- if $.Values.workspaces.existingClaim }}
            - { name: workspaces, mountPath: /data/workspaces }
            {{- end }}
      volumes:
        - { name: data, emptyDir: {} }
        - { name: tmp, emptyDir: {} }
        {{- if and $.Values.tls.secret (eq $role "api") }}
        - { name: tls, secret: { secretName: {{ $.Values.tls.secret }} } }
        {{- end }}
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

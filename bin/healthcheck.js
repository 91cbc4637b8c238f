// The image's health check: whether the server in this container answers. A worker answers no requests: it is well as long as
// it runs, and ends by itself when it loses its place.
import http from 'node:http';
import https from 'node:https';

const { PROVISIONING_ROLE: role, PROVISIONING_PORT: port, PROVISIONING_TLS_CERT_FILE: tls } = process.env;
if (role === 'worker') process.exit(0);
// The certificate is for the name that clients know. A server that wants one of its clients is up when it says so.
const wantsCertificate = ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE'];
(tls ? https : http)
  .get({ host: '127.0.0.1', port: port || 8083, path: '/health/ready', rejectUnauthorized: false }, (response) =>
    process.exit(response.statusCode === 200 ? 0 : 1),
  )
  .on('error', (error) => process.exit(wantsCertificate.includes(error.code) ? 0 : 1));

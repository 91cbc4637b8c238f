// Runs in `npm ci`, and ends it where npm itself runs on a Node that is too old: npm then leaves out the packages for this
// platform that ask for a newer one (the bundler, the linters), and says nothing until one of them is missing. Plain
// JavaScript that any Node reads.
const { execFileSync } = require('node:child_process');
const { engines } = require('../package.json');

/** Whether a version is in ranges like `^20.19.0 || >=22.12.0`. */
function satisfies(version, ranges) {
  const [major, minor] = version.split('.').map(Number);
  return ranges.split(' || ').some((range) => {
    const [, operator, lowest, lowestMinor] = /^(\^|>=)(\d+)\.(\d+)\.0$/.exec(range);
    if (major === Number(lowest)) return minor >= Number(lowestMinor);
    return operator === '>=' && major > Number(lowest);
  });
}

// This process may be the Node from node_modules. npm_config_user_agent names the wrong one below npx.
const node = process.env.npm_node_execpath || process.execPath;
const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim();
if (!satisfies(version, engines.node)) {
  console.error(`npm runs on Node ${version}, which is too old to install this project: it needs ${engines.node}.`);
  console.error('Install a newer Node, or install with a temporary one: npx --yes --package node@24 npm ci');
  process.exit(1);
}

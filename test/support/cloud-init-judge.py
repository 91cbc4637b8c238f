"""Has Debian's cloud-init take user data as a new server would, in a directory of its own, and tells what came of it.

Reads {"cloud": its name, "cases": {name: user data in base64}} and writes for each case: the configuration that cloud-init goes by, the scripts that it would run, what boothooks and part handlers did, root's
authorized_keys as they are after its modules write_files and ssh and our script, and its warnings.
"""
import base64
import json
import logging
import os
import pwd
import subprocess
import sys
import tempfile

import yaml
from cloudinit import ssh_util, stages, util
from cloudinit.config import cc_ssh, cc_write_files
from cloudinit.sources.DataSourceNone import DataSourceNone
from cloudinit.sources.helpers.hetzner import maybe_b64decode


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def consume(raw, root):
    """What a server does with it at its first boot, before any module runs."""
    init = stages.Init()
    dirs = {"cloud_dir": f"{root}/lib", "run_dir": f"{root}/run"}
    init._cfg = {"system_info": {"distro": "debian", "paths": dirs}}
    init.datasource = DataSourceNone(init.cfg, init.distro, init.paths)
    # Handlers register under the same module names for each server.
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.startswith("part-handler-")]:
        del sys.modules[name]
    init.paths.datasource = init.datasource
    init.datasource.userdata_raw = raw
    os.makedirs(f"{root}/run", exist_ok=True)
    os.makedirs(f"{root}/lib/instances/iid-datasource-none", exist_ok=True)
    os.symlink(f"{root}/lib/instances/iid-datasource-none", f"{root}/lib/instance")
    for folder in ("handlers", "scripts", "boothooks", "data", "sem"):
        os.makedirs(f"{root}/lib/instance/{folder}", exist_ok=True)
    util.write_file(f"{root}/run/instance-data-sensitive.json", json.dumps({"v1": {"region": "here"}}))
    init._consume_userdata()
    return init


def authorized_keys(cfg, root, home, script):
    """Root's keys after what has to do with them, in its order: write_files, the keys' part of ssh, and our script."""
    file = f"{home}/.ssh/authorized_keys"
    os.makedirs(f"{home}/.ssh", exist_ok=True)
    mine = [dict(f) for f in cfg.get("write_files") or [] if f.get("path") == "/root/.ssh/authorized_keys"]
    for each in mine:
        each["path"] = f"{home}/.ssh/authorized_keys"
        each["owner"] = pwd.getpwuid(os.getuid()).pw_name
    cc_write_files.write_files("write-files", mine, pwd.getpwuid(os.getuid()).pw_name)
    ssh_util.extract_authorized_keys = lambda _user: (file, ssh_util.parse_authorized_keys([file]))
    # The first lines of it are as in cc_ssh's handle(). Images have root disabled unless they are told otherwise.
    disabled = util.get_cfg_option_bool(cfg, "disable_root", True)
    options = util.get_cfg_option_str(cfg, "disable_root_opts", ssh_util.DISABLE_USER_OPTS)
    cc_ssh.apply_credentials(list(cfg.get("ssh_authorized_keys", [])), None, disabled, options)
    if script is not None:
        subprocess.run(["sh", "-c", script.replace("/root/.ssh", f"{home}/.ssh")], check=True)
    return [line for line in util.load_file(file).splitlines() if line]


def judge(raw):
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    with tempfile.TemporaryDirectory() as root:
        os.environ["JUDGE_ROOT"] = root
        consume(raw, root)
        config = f"{root}/lib/instance/cloud-config.txt"
        cfg = yaml.safe_load(util.load_file(config)) if os.path.exists(config) else None
        folder = f"{root}/lib/instance/scripts"
        scripts = {name: util.load_file(f"{folder}/{name}") for name in sorted(os.listdir(folder))}
        first = next(iter(scripts), None)
        ours = scripts.pop("00-provisioning-root-key", None)
        done = f"{root}/done"
        result = {
            "config": cfg or {},
            "scripts": list(scripts.values()),
            "first": first,
            "done": util.load_file(done) if os.path.exists(done) else "",
            "authorized_keys": authorized_keys(cfg or {}, root, f"{root}/home", ours),
            "warnings": warnings.lines,
        }
    logging.getLogger().removeHandler(warnings)
    return result


asked = json.load(sys.stdin)
# What the cloud's own data source does before anything else.
taken = maybe_b64decode if asked["cloud"] == "hetzner" else bytes
print(json.dumps({name: judge(taken(base64.b64decode(raw))) for name, raw in asked["cases"].items()}))

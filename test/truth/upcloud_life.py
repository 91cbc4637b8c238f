"""A server's whole life at UpCloud by upcloud-api: templates, keys, networks, labels, disks, errors. Writes what it found as JSON."""
import json
import os
import time

from upcloud_api import CloudManager, Server, Storage, UpCloudAPIError, login_user_block
from upcloud_api.api import API
from upcloud_api.label import Label

API.api_root = f"{os.environ['ENDPOINT']}/1.3"
KEY = "ssh-ed25519 AAAA mine"


def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except UpCloudAPIError as error:
        return error.error_code
    return None


def until(server, state):
    for _ in range(300):
        if server.populate().state == state:
            return
        time.sleep(0.1)
    raise SystemExit(f"it is {server.state}, not {state}")


cloud = CloudManager(token=os.environ["TOKEN"])
cloud.authenticate()
template = next(uuid for each in cloud.get_templates() for title, uuid in each.items() if "Debian GNU/Linux 12" in title)
networks = cloud.get_networks()
server = cloud.create_server(Server(
    zone=cloud.get_zones()["zones"]["zone"][0]["id"], hostname="web-1", title="web-1", plan="2xCPU-4GB",
    labels=[Label("env", "prod")], metadata="yes", user_data="#!/bin/sh\ntrue",
    login_user=login_user_block("root", [KEY]),
    storage_devices=[Storage(os=template, size=80, title="web-1-disk", labels=[Label("usage", "system")])],
    networking={"interfaces": {"interface": [
        {"type": "public", "ip_addresses": {"ip_address": [{"family": "IPv4"}]}},
        {"type": "private", "network": next(n.uuid for n in networks if n.type == "private"),
         "ip_addresses": {"ip_address": [{"family": "IPv4"}]}}]}},
))
until(server, "started")
running_delete = refused(cloud.delete_server, server.uuid)
early_start = refused(server.start)
server.restart()
states = [server.populate().state]
for _ in range(300):
    if states[-1] != server.populate().state:
        states.append(server.state)
    if states[-2:] == ["maintenance", "started"]:
        break
    time.sleep(0.05)
server.stop()
until(server, "stopped")
server.title = "renamed"
server.save()
data = cloud.create_storage("de-fra1", size=10, title="data")
server.populate().add_storage(data)
attached = [[each.title, each.address] for each in server.populate().storage_devices]
in_use = refused(cloud.delete_storage, data.uuid)
backup = cloud.create_storage_backup(data.uuid, "of data")
server.start()
until(server, "started")
listed = [[each.hostname, each.title, each.state] for each in cloud.get_servers()]
public = server.get_ip("public")
server.stop()
until(server, "stopped")
server.remove_storage(next(each for each in server.storage_devices if each.title == "data"))
own = server.populate().storage_devices[0]
server.destroy(delete_storages=True)
print(json.dumps({
    "networks": sorted(each.type for each in networks), "states": states, "attached": attached, "listed": listed,
    "address": public.startswith("94.237."), "labels": own.labels,
    "left": sorted(each.title for each in cloud.get_storages("private")), "backup": backup.type,
    "errors": {
        "running": running_delete, "started": early_start, "in_use": in_use,
        "gone": refused(cloud.get_server, server.uuid), "invalid": refused(cloud.get_server, "nonsense"),
        "zone": refused(cloud.create_server, Server(zone="xx-xxx9", hostname="a", plan="2xCPU-4GB", metadata="yes",
                                                    storage_devices=[Storage(os=template, size=80)])),
        "token": refused(CloudManager(token="ucat_wrong").authenticate),
    },
}))

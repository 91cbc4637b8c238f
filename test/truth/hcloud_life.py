"""Leads servers through their whole life at the stand-in with hcloud-python, and tells what it saw as JSON."""
import json
import os

from hcloud import APIException, Client
from hcloud.actions import ActionFailedException
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType
from hcloud.servers import ServerCreatePublicNetwork

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH me"
api = f"{os.environ['ENDPOINT']}/v1"
client = Client(token=os.environ["TOKEN"], api_endpoint=api, poll_interval=0.02, poll_max_retries=500)
facts = {}


def code(call):
    """What an error is known by."""
    try:
        call()
    except APIException as error:
        return error.code
    except ActionFailedException as error:
        return f"action: {error.action.error['code']}"
    return "none"


cpx22 = client.server_types.get_by_id(client.server_types.get_by_name("cpx22").id)
cx23 = client.server_types.get_by_name("cx23")
facts["cx23"] = {each.location.name: each.available for each in cx23.locations}
facts["images"] = sorted({image.name for image in client.images.get_all(type=["system"], architecture=["x86"])})
debian = client.images.get_by_name_and_architecture("debian-12", "x86")

key = client.ssh_keys.create(name="me", public_key=KEY, labels={"who": "me"})
facts["keys"] = [client.ssh_keys.get_by_fingerprint(key.fingerprint).name, len(client.ssh_keys.get_all(label_selector="who=me"))]
network = client.networks.create(name="ours", ip_range="10.8.0.0/16", labels={"who": "me"})


def create(name, **wishes):
    response = client.servers.create(
        **{
            "name": name,
            "server_type": cpx22,
            "image": debian,
            "location": Location(name="fsn1"),
            "ssh_keys": [key],
            "labels": {"env": "prod"},
            **wishes,
        }
    )
    response.action.wait_until_finished()
    for action in response.next_actions:
        action.wait_until_finished()
    return response


first = create("web-1", networks=[network], user_data="#cloud-config\n")
facts["password with a key"] = first.root_password
create("web-2")
server = client.servers.get_by_name("web-1")
facts["made"] = [
    server.name,
    server.status,
    server.location.name,
    server.server_type.name,
    server.image.name,
    server.private_net[0].network.id == network.id,
    server.public_net.ipv6.ip.endswith("/64"),
]
alone = create("private", networks=[network], public_net=ServerCreatePublicNetwork(enable_ipv4=False, enable_ipv6=False))
facts["private"] = alone.server.public_net.ipv4 is None
facts["password without a key"] = len(create("no-key", ssh_keys=[]).root_password) > 0

server = server.update(labels={"env": "test"})
facts["by label"] = [each.name for each in client.servers.get_all(label_selector="env=test")]
server.shutdown().wait_until_finished()
server.change_type(ServerType(name="cx33"), upgrade_disk=False).wait_until_finished()
server.reload()
facts["changed"] = [server.server_type.name, server.status]
facts["type of one that runs"] = code(lambda: server.change_type(ServerType(name="cpx22"), upgrade_disk=False))
server.power_off().wait_until_finished()
server.power_on().wait_until_finished()
# The test has this one fail.
facts["failed action"] = code(lambda: server.reboot().wait_until_finished())
facts["actions"] = sorted({action.command for action in server.get_actions()})
server.rebuild(debian).action.wait_until_finished()
made = server.create_image(type="snapshot", description="mine")
made.action.wait_until_finished()
facts["snapshot"] = [client.images.get_by_id(made.image.id).status, code(lambda: create("from-snapshot", image=made.image))]
made.image.delete()

server.change_protection(delete=True, rebuild=True).wait_until_finished()
facts["errors"] = {
    "protected": code(server.delete),
    "name taken": code(lambda: create("web-1")),
    "sold out": code(lambda: create("x", server_type=cx23)),
    "going away": code(lambda: create("x", server_type=ServerType(name="cx22"))),
    "invalid": code(lambda: create("x", labels={"a b": ""})),
    "no image": code(lambda: create("x", image=Image(id=999))),
    "not there": code(lambda: client.servers.get_by_id(1)),
    "wrong token": code(Client(token="stranger", api_endpoint=api).servers.get_all),
}
server.change_protection(delete=False, rebuild=False).wait_until_finished()

for number in range(27):
    create(f"many-{number}")
page = client.servers.get_list(page=2, per_page=10)
facts["page"] = [len(page.servers), page.meta.pagination.total_entries, page.meta.pagination.next_page]
everything = client.servers.get_all()
facts["over pages"] = len(everything)
for each in everything:
    each.delete().wait_until_finished()
network.delete()
key.delete()
print(json.dumps(facts))

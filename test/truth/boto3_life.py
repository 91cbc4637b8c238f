"""A server's whole life at EC2 by boto3: images, keys, networks, pages, errors. Writes what it found as JSON."""
import json
import os

import boto3
from botocore.exceptions import ClientError

ENDPOINT = os.environ["ENDPOINT"]


def client(secret=os.environ["SECRET"]):
    return boto3.client("ec2", endpoint_url=ENDPOINT, region_name="eu-central-1",
                        aws_access_key_id=os.environ["KEY"], aws_secret_access_key=secret)


def refused(call, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


ec2 = client()
soon = {"Delay": 1, "MaxAttempts": 30}
owner = {"Owners": ["136693071363"], "Filters": [{"Name": "name", "Values": ["debian-12-amd64-*"]}]}
image = max(ec2.describe_images(**owner)["Images"], key=lambda each: each["CreationDate"])
everything = ec2.describe_images(IncludeDeprecated=True, **owner)["Images"]
types = [each["InstanceType"] for page in ec2.get_paginator("describe_instance_types").paginate(
    Filters=[{"Name": "instance-type", "Values": ["t3.*"]}], PaginationConfig={"PageSize": 5})
    for each in page["InstanceTypes"]]
subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=b"ssh-ed25519 AAAA mine")
launch = {"ImageId": image["ImageId"], "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "KeyName": "mine",
          "SubnetId": subnet, "SecurityGroupIds": [group],
          "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}]}
dry = refused(ec2.run_instances, DryRun=True, **launch)
after_dry = len(ec2.describe_instances()["Reservations"])
made = ec2.run_instances(ClientToken="token-1", **launch)["Instances"][0]["InstanceId"]
again = ec2.run_instances(ClientToken="token-1", **launch)["Instances"][0]["InstanceId"]
changed = refused(ec2.run_instances, ClientToken="token-1", **{**launch, "InstanceType": "t3.medium"})
others = [ec2.run_instances(**launch)["Instances"][0]["InstanceId"] for _ in range(6)]
ec2.get_waiter("instance_running").wait(InstanceIds=[made, *others], WaiterConfig=soon)
only = [each["InstanceId"] for each in ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"]]
pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
ec2.create_tags(Resources=[made], Tags=[{"Key": "env", "Value": "prod"}])
tagged = ec2.describe_instances(Filters=[{"Name": "tag:env", "Values": ["prod"]}])["Reservations"]
dry_end = refused(ec2.terminate_instances, InstanceIds=[made], DryRun=True)
running_resize = refused(ec2.modify_instance_attribute, InstanceId=made, InstanceType={"Value": "t3.medium"})
ec2.stop_instances(InstanceIds=[made])
ec2.get_waiter("instance_stopped").wait(InstanceIds=[made], WaiterConfig=soon)
ec2.modify_instance_attribute(InstanceId=made, InstanceType={"Value": "t3.medium"})
ec2.start_instances(InstanceIds=[made])
ec2.get_waiter("instance_running").wait(InstanceIds=[made], WaiterConfig=soon)
ec2.reboot_instances(InstanceIds=[made])
final = ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
ec2.modify_instance_attribute(InstanceId=made, DisableApiTermination={"Value": True})
protected = refused(ec2.terminate_instances, InstanceIds=[made])
ec2.modify_instance_attribute(InstanceId=made, DisableApiTermination={"Value": False})
ec2.terminate_instances(InstanceIds=[made, *others])
ec2.get_waiter("instance_terminated").wait(InstanceIds=[made, *others], WaiterConfig=soon)
ended = ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
ec2.delete_key_pair(KeyName="mine")
print(json.dumps({
    "newest": image["Name"], "deprecated": len(everything) - len(ec2.describe_images(**owner)["Images"]), "types": types,
    "dry": [dry, after_dry, dry_end], "token": [again == made, changed, refused(ec2.run_instances, ClientToken="token-1", **launch)],
    "only": only == [made], "pages": [sum(len(r["Instances"]) for r in page["Reservations"]) for page in pages],
    "tagged": len(tagged), "running_resize": running_resize, "protected": protected,
    "final": [final["State"]["Name"], final["InstanceType"], final["KeyName"]],
    "ended": [ended["State"]["Name"], ended["StateReason"]["Code"]],
    "errors": {
        "unknown": refused(ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"]),
        "malformed": refused(ec2.terminate_instances, InstanceIds=["nonsense"]),
        "image": refused(ec2.describe_images, ImageIds=["ami-0123456789abcdef9"]),
        "key": refused(ec2.describe_key_pairs, KeyNames=["mine"]),
        "filter": refused(ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["blue"]}]),
        "secret": refused(client("wrong").describe_instances),
    },
}))

"""Judges exchanges with EC2 by botocore's model of it: whether each request could have been made, and each answer given.

Reads [{"request": a form, "status": of HTTP, "answer": XML}] and writes what is wrong as a list of lines.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qsl

import botocore.session

MODEL = botocore.session.get_session().get_service_model("ec2")
WORDS = {"boolean": r"true|false", "integer": r"-?\d+", "long": r"-?\d+", "double": r"-?[\d.]+", "float": r"-?[\d.]+",
         "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"}


def scalar(shape, text, at, wrong):
    pattern = WORDS.get(shape.type_name)
    if pattern is not None and not re.fullmatch(pattern, text):
        wrong.append(f"{at}: {text!r} is no {shape.type_name}")
    allowed = getattr(shape, "enum", None)
    if allowed and text not in allowed:
        wrong.append(f"{at}: {text!r} is none of {shape.name}")


def asked(shape, tree, at, wrong):
    """What the Query protocol of EC2 makes of a value of the shape: flat lists, names with a capital."""
    if shape.type_name == "structure":
        if not isinstance(tree, dict):
            return wrong.append(f"{at}: a {shape.name} has fields")
        names = {}
        for name, member in shape.members.items():
            given = member.serialization
            wire = given.get("queryName") or (given["name"][0].upper() + given["name"][1:] if "name" in given else name)
            names[wire] = member
        for name, value in tree.items():
            if name in names:
                asked(names[name], value, f"{at}.{name}", wrong)
            else:
                wrong.append(f"{at}: {shape.name} has no {name}")
        for name in shape.required_members:
            given = shape.members[name].serialization
            wire = given.get("queryName") or (given["name"][0].upper() + given["name"][1:] if "name" in given else name)
            if wire not in tree:
                wrong.append(f"{at}: {shape.name} needs {wire}")
    elif shape.type_name == "list":
        if not isinstance(tree, dict) or sorted(map(int, tree)) != list(range(1, len(tree) + 1)):
            return wrong.append(f"{at}: a list is numbered from 1 on")
        for number, value in tree.items():
            asked(shape.member, value, f"{at}.{number}", wrong)
    elif isinstance(tree, dict):
        wrong.append(f"{at}: a {shape.name} has no fields")
    else:
        scalar(shape, tree, at, wrong)


def local(element):
    return re.sub(r"^\{.*\}", "", element.tag)


def answered(shape, element, at, wrong):
    if shape.type_name == "structure":
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for child in element:
            name = local(child)
            if name in names:
                answered(names[name], child, f"{at}.{name}", wrong)
            elif not (name == "requestId" and at.count(".") == 0):
                wrong.append(f"{at}: {shape.name} has no {name}")
    elif shape.type_name == "list":
        name = shape.member.serialization.get("name", "item")
        for child in element:
            if local(child) != name:
                wrong.append(f"{at}: a list has {name}, not {local(child)}")
            answered(shape.member, child, f"{at}[]", wrong)
    else:
        scalar(shape, element.text or "", at, wrong)


def judge(exchange, wrong):
    form = dict(parse_qsl(exchange["request"], keep_blank_values=True))
    action = form.pop("Action", "")
    if form.pop("Version", "") != MODEL.api_version:
        wrong.append(f"{action}: not of version {MODEL.api_version}")
    if action not in MODEL.operation_names:
        return wrong.append(f"there is no {action}")
    operation = MODEL.operation_model(action)
    tree = {}
    for key, value in form.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    asked(operation.input_shape, tree, action, wrong)
    root = ElementTree.fromstring(exchange["answer"])
    if exchange["status"] != 200:
        codes = root.findall("Errors/Error/Code")
        if local(root) != "Response" or len(codes) != 1 or root.find("RequestID") is None:
            wrong.append(f"{action}: no error of EC2: {exchange['answer'][:200]}")
    elif local(root) != f"{action}Response":
        wrong.append(f"{action}: answered {local(root)}")
    elif operation.output_shape is not None:
        answered(operation.output_shape, root, f"{action}Response", wrong)


problems = []
for each in json.load(sys.stdin):
    judge(each, problems)
print(json.dumps(sorted(set(problems))))

#!/usr/bin/env python3
"""Writes the CloudFormation templates of config/ecs/cloudformation/, from config/iam/ and config/ecs/.

usage: generate.py [--check]

--check writes nothing and fails if a template is not what would be written.
"""

import pathlib
import sys

import service
import tenant
import yaml_text

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "config" / "ecs" / "cloudformation"
TEMPLATES = {"probe.yaml": service.template, "tenant.yaml": tenant.template}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        return __doc__
    outdated = []
    for name, template in TEMPLATES.items():
        file, text = FOLDER / name, yaml_text.text(template())
        if file.exists() and file.read_text() == text:
            continue
        outdated.append(name)
        if not check:
            FOLDER.mkdir(exist_ok=True)
            file.write_text(text)
            print(f"written: {file}")
    if check and outdated:
        return f"config/ecs/cloudformation: {', '.join(outdated)} outdated: run `make ecs-files`"
    return None


if __name__ == "__main__":
    sys.exit(main())

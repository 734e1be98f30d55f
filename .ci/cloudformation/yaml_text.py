"""Writes CloudFormation templates as YAML: only what the templates need, so that no package has to be installed."""

import json
import re

# Plain words that YAML reads as something else (YAML 1.1, which CloudFormation's parser follows).
NOT_TEXT = {"yes", "no", "on", "off", "true", "false", "null", "y", "n", "~", ""}
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*(?:::[A-Za-z0-9]+)*")


class Tag:
    """An intrinsic function in its short form: `!Ref Name`, `!Sub text`, `!If [...]`."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def __eq__(self, other):
        return isinstance(other, Tag) and (self.name, self.value) == (other.name, other.value)

    def __hash__(self):
        return hash((self.name, repr(self.value)))

    def __repr__(self):
        return f"!{self.name} {self.value!r}"


def ref(name):
    return Tag("Ref", name)


def sub(text):
    return Tag("Sub", text) if "${" in text else text


def att(name):
    return Tag("GetAtt", name)


NO_VALUE = ref("AWS::NoValue")


def either(condition, then, otherwise=NO_VALUE):
    return Tag("If", [condition, then, otherwise])


class Note:
    """A comment above an entry: `{Note("why"): None, "Key": value}`."""

    def __init__(self, text):
        self.text = text


def scalar(value):
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)


def lines(value, indent=0):
    """The lines of a value that begins on a line of its own."""
    space = " " * indent
    if isinstance(value, dict):
        for key, entry in value.items():
            if isinstance(key, Note):
                yield from (f"{space}# {line}" for line in key.text.splitlines())
            else:
                yield from entry_lines(f"{space}{scalar(key)}:", entry, indent)
    else:
        for entry in value:
            yield from item_lines(space, entry, indent)


def entry_lines(head, value, indent):
    if isinstance(value, Tag):
        head, value = f"{head} !{value.name}", value.value
    if isinstance(value, (dict, list)):
        if not value:
            yield f"{head} {'{}' if isinstance(value, dict) else '[]'}"
            return
        yield head
        yield from lines(value, indent + 2)
    elif isinstance(value, str) and "\n" in value:
        yield f"{head} |"
        yield from (f"{' ' * (indent + 2)}{line}".rstrip() for line in value.rstrip("\n").split("\n"))
    else:
        yield f"{head} {scalar(value)}"


def item_lines(space, value, indent):
    if isinstance(value, Tag) or not isinstance(value, (dict, list)):
        yield from entry_lines(f"{space}-", value, indent)
        return
    # The first line of the entry goes behind the dash.
    first, *rest = lines(value, indent + 2)
    yield f"{space}- {first.lstrip()}"
    yield from rest


def text(template):
    """A whole template, with an empty line between its sections and between its resources."""
    written = []
    for section, value in template.items():
        if isinstance(section, Note):
            written += [f"# {line}".rstrip() for line in section.text.splitlines()]
        elif section in ("Parameters", "Resources"):
            written += ["", f"{section}:"]
            for name, entry in value.items():
                if isinstance(name, Note):
                    written += ["", *(f"  # {line}" for line in name.text.splitlines())]
                else:
                    commented = written[-1].startswith("  # ")
                    written += [*([] if commented or written[-1].endswith("s:") else [""]), f"  {name}:"]
                    written += lines(entry, 4)
        else:
            written += ["", *entry_lines(f"{section}:", value, 0)]
    return "\n".join(written).lstrip("\n") + "\n"

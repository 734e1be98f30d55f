#!/usr/bin/env python3
"""Writes the schemas that the tests of the dashboards compare with, from two packages of PyPI.

grafana-foundation-sdk (Apache-2.0) has Grafana's schema of dashboards, panels and queries as classes;
google-api-python-client (Apache-2.0) has the discovery document of `monitoring.v1`. Only names and types are taken:

    {"GridPos": {"x": "integer", "w": "integer"}, "Threshold": {"color": {"enum": ["RED"]}, "of": {"ref": "GridPos"}}}

usage: pip download --no-deps --require-hashes --requirement tests/dashboards/requirements.txt --dest FOLDER
       tests/dashboards/schemas.py FOLDER      writes grafana-schema.json and google-schema.json beside this file
"""

import enum
import importlib
import inspect
import json
import pathlib
import re
import sys
import types
import typing
import zipfile

HERE = pathlib.Path(__file__).parent
# Where Grafana's classes are. A panel's own options and queries of data sources have modules of their own.
MODULES = ["dashboard", "stat", "timeseries", "statetimeline", "heatmap", "table", "bargauge", "text", "common",
           "prometheus", "cloudwatch", "googlecloudmonitoring"]
# With which classes a check begins.
ROOTS = {
    "dashboard": ["Dashboard"], "prometheus": ["Dataquery"],
    "cloudwatch": ["CloudWatchMetricsQuery"], "googlecloudmonitoring": ["CloudMonitoringQuery"],
    "stat": ["Options"], "timeseries": ["Options", "FieldConfig"], "statetimeline": ["Options", "FieldConfig"],
    "heatmap": ["Options"], "table": ["Options"], "bargauge": ["Options"], "text": ["Options"],
}
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", object: "any", typing.Any: "any"}


def name_of(cls):
    """The name of a class with that of its module: several modules have `Options`."""
    return cls.__module__.rsplit(".", 1)[-1] + "." + cls.__name__


def type_of(hint, seen):
    """A type in the notation of the schemas. Classes that it names are added to `seen`."""
    if hint in PLAIN:
        return PLAIN[hint]
    origin, arguments = typing.get_origin(hint), [it for it in typing.get_args(hint) if it is not type(None)]
    if origin is typing.Literal:
        return {"enum": list(typing.get_args(hint))}
    if origin in (typing.Union, types.UnionType):
        kinds = [type_of(it, seen) for it in arguments]
        return kinds[0] if len(kinds) == 1 else {"union": kinds}
    if origin is list:
        return {"array": type_of(arguments[0], seen)}
    if origin is dict:
        return {"map": type_of(arguments[1], seen)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [it.value for it in hint]}
    if isinstance(hint, type) and hasattr(hint, "from_json"):
        if hint.__module__.endswith("variants"):
            return "any"
        seen.append(hint)
        return {"ref": name_of(hint)}
    return "any"


def grafana():
    modules = {name: importlib.import_module(f"grafana_foundation_sdk.models.{name}") for name in MODULES}
    todo = [getattr(modules[module], name) for module, names in ROOTS.items() for name in names]
    schemas = {}
    while todo:
        cls = todo.pop()
        if name_of(cls) in schemas:
            continue
        # The JSON's name of each attribute, as its reader has it.
        names = re.findall(r'if "([^"]+)" in data:\s+(?:decoding_map[^\n]+\n\s+)?args\["(\w+)"\]', inspect.getsource(cls.from_json))
        names += [("options", "options"), ("fieldConfig", "field_config"), ("targets", "targets")]
        hints = typing.get_type_hints(cls, vars(inspect.getmodule(cls)))
        schemas[name_of(cls)] = {json_name: type_of(hints[attribute], todo) for json_name, attribute in names if attribute in hints}
        missing = set(hints) - {attribute for _, attribute in names}
        for attribute in missing:
            # A field with one possible value is not read; Python's own words get a suffix.
            schemas[name_of(cls)][attribute.removesuffix("_val")] = type_of(hints[attribute], todo)
    return schemas


def google(wheel):
    with zipfile.ZipFile(wheel) as archive:
        document = json.loads(archive.read("googleapiclient/discovery_cache/documents/monitoring.v1.json"))

    def of(schema):
        if "$ref" in schema:
            todo.append(schema["$ref"])
            return {"ref": schema["$ref"]}
        if "enum" in schema:
            return {"enum": schema["enum"]}
        if schema.get("type") == "array":
            return {"array": of(schema["items"])}
        if schema.get("type") == "object":
            return {"map": of(schema["additionalProperties"])} if "additionalProperties" in schema else "any"
        return schema["type"]

    todo, schemas = ["Dashboard"], {}
    while todo:
        name = todo.pop()
        if name not in schemas:
            properties = document["schemas"][name].get("properties", {})
            schemas[name] = {key: of(schema) for key, schema in properties.items()}
    return schemas, document["revision"]


def write(name, source, schemas):
    lines = [f"  {json.dumps(key)}: {json.dumps(schemas[key], sort_keys=True)}" for key in sorted(schemas)]
    text = "{\n" + f"  \"_source\": {json.dumps(source)},\n" + ",\n".join(lines) + "\n}\n"
    (HERE / name).write_text(text)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    [grafana_wheel], [google_wheel] = folder.glob("grafana_foundation_sdk-*.whl"), folder.glob("google_api_python_client-*.whl")
    sys.path.insert(0, str(grafana_wheel))
    source = f"PyPI, {grafana_wheel.name}, written by schemas.py"
    write("grafana-schema.json", source, grafana())
    schemas, revision = google(google_wheel)
    source = f"PyPI, {google_wheel.name}, monitoring.v1 of revision {revision}, written by schemas.py"
    write("google-schema.json", source, schemas)


main()

"""Evaluates the CloudFormation templates: enough of its functions to see what a stack would ask AWS for."""

import re

import yaml

# What AWS itself knows of a stack.
PSEUDO = {
    "AWS::AccountId": "999999999999",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "traceprobe",
}
NOTHING = object()


class Call:
    """A function of CloudFormation, such as `!Sub text`."""

    def __init__(self, name, value):
        self.name, self.value = name, value


class Loader(yaml.SafeLoader):
    def construct(self, name, node):
        if isinstance(node, yaml.ScalarNode):
            return Call(name, node.value)
        make = self.construct_sequence if isinstance(node, yaml.SequenceNode) else self.construct_mapping
        return Call(name, make(node, deep=True))


Loader.add_multi_constructor("!", Loader.construct)


def load(file):
    return yaml.load(file.read_text(), Loader)


class Stack:
    """A template with values for its parameters."""

    def __init__(self, file, **parameters):
        self.template = load(file)
        self.parameters = dict(PSEUDO)
        for name, declared in self.template["Parameters"].items():
            value = parameters.pop(name, declared.get("Default"))
            assert value is not None, f"{file.name}: the parameter {name} has no value"
            is_list = "List" in declared["Type"] and isinstance(value, str)
            self.parameters[name] = value.split(",") if is_list else value
        assert not parameters, f"{file.name} has no parameter {sorted(parameters)}"

    def resources(self):
        """The resources that the stack would have: name -> (type, properties)."""
        made = {}
        for name, resource in self.template["Resources"].items():
            if "Condition" not in resource or self.holds(resource["Condition"]):
                made[name] = (resource["Type"], self.value(resource.get("Properties", {})))
        return made

    def holds(self, condition):
        return self.value(self.template["Conditions"][condition])

    def broken_rules(self):
        """What the rules of the template say against the parameters."""
        for rule in self.template.get("Rules", {}).values():
            if self.value(rule.get("RuleCondition", True)):
                for assertion in rule["Assertions"]:
                    if not self.value(assertion["Assert"]):
                        yield assertion["AssertDescription"]

    def value(self, value):
        if isinstance(value, dict):
            if value.keys() == {"Condition"} and isinstance(value["Condition"], str):
                return self.holds(value["Condition"])
            return {key: made for key, entry in value.items() if (made := self.value(entry)) is not NOTHING}
        if isinstance(value, list):
            return [made for entry in value if (made := self.value(entry)) is not NOTHING]
        return getattr(self, value.name.lower())(value.value) if isinstance(value, Call) else value

    def ref(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        if name in self.parameters:
            return self.parameters[name]
        assert name in self.template["Resources"], f"!Ref {name}: no such parameter or resource"
        return f"ref-of-{name}"

    def getatt(self, name):
        resource = name.split(".")[0]
        assert resource in self.template["Resources"], f"!GetAtt {name}: no such resource"
        return f"{name}-of-the-resource"

    def sub(self, value):
        text, given = value if isinstance(value, list) else (value, {})
        given = self.value(given)
        return re.sub(
            r"\$\{([^}]+)\}",
            lambda found: str(given[found[1]] if found[1] in given else self.named(found[1])),
            text,
        )

    def named(self, name):
        return self.getatt(name) if "." in name else self.ref(name)

    def join(self, value):
        delimiter, entries = value
        return delimiter.join(self.value(entries))

    def split(self, value):
        delimiter, text = value
        return self.value(text).split(delimiter)

    def equals(self, value):
        one, other = self.value(value)
        return str(one) == str(other)

    def condition(self, name):
        return self.holds(name)

    def not_(self, value):
        return not self.value(value)[0]

    def and_(self, value):
        return all(self.value(value))

    def or_(self, value):
        return any(self.value(value))

    def if_(self, value):
        condition, then, otherwise = value
        return self.value(then if self.holds(condition) else otherwise)

    def __getattr__(self, name):
        # Some names of functions are words of Python.
        if not name.endswith("_") and name in ("if", "not", "and", "or"):
            return getattr(self, f"{name}_")
        raise AttributeError(f"the function {name} of CloudFormation is not known here")

"""YAML that others wrote: values alone, of a size that nobody minds."""

from typing import Any

import yaml

MAX_BYTES = 1024**2  # of a file
MAX_VALUES = 10_000  # with what aliases stand for, each time they do


class NotYaml(ValueError):
    """The text is no YAML, or more than is read; `str` says why, and where."""


def parse_yaml(data: bytes) -> Any:
    """What YAML's safe loader makes of it: no tag makes an object, nothing runs. Raises NotYaml."""
    if len(data) > MAX_BYTES:
        raise NotYaml(f"it has more than {MAX_BYTES:,} bytes")
    try:
        loader = yaml.SafeLoader(data.decode("utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MAX_VALUES:
            raise NotYaml(f"with its aliases it has more than {MAX_VALUES:,} values")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        raise NotYaml(f"it is not YAML{f', line {mark.line + 1}' if mark else ''}: {problem.splitlines()[0]}") from None
    except RecursionError:
        raise NotYaml("it is too deeply nested") from None
    except NotYaml:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:  # of a date such as 2024-99-99
        raise NotYaml(f"it is not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds, those of an alias as often as it stands there. Raises NotYaml where one holds itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        children = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    elif known[id(node)] == 0:
        raise NotYaml(f"line {node.start_mark.line + 1}: a value holds itself")
    return known[id(node)]

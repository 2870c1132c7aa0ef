"""What a client wrote, parsed, within bounds, and in the schema's own names (T-GQL-12, T-GQL-13, D-08)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    NameNode,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    parse,
)

from control_plane.domain.errors import InvalidRequest

# A document is lexed character by character; what is long, as a prompt, travels as a variable.
LENGTH_MAX = 65_536
TOKENS_MAX, DEPTH_MAX, ALIASES_MAX = 2000, 10, 15
# Validation compares fields of one response name in pairs, and fragments with each other.
REPEATS_MAX, FRAGMENTS_MAX = 50, 20
# The schema's own description is deeper than any answer: by the tools' standard question for it, 4 levels more.
SCHEMA_DEPTH_FREE = 10
_SCHEMA_FIELDS = ("__schema", "__type")
_SNAKE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_TOO_DEEP = f"the document is nested too deeply: at most {DEPTH_MAX} levels are allowed"
Fragments = Mapping[str, FragmentDefinitionNode]
Written = TypeVar("Written", bound=Node)


def read(text: str) -> DocumentNode:
    """Raises GraphQLError; of what is over a bound, its `original_error` is an InvalidRequest with the limit."""
    if len(text) > LENGTH_MAX:
        message = f"the document has {len(text)} characters, at most {LENGTH_MAX} are allowed: send texts as variables"
        raise refused(message, limit=LENGTH_MAX)
    try:
        document = parse(text, max_lexical_tokens=TOKENS_MAX)
    except GraphQLError as error:
        if f"more than {TOKENS_MAX}" in error.message:
            raise refused(f"the document has more than {TOKENS_MAX} tokens", limit=TOKENS_MAX) from None
        if isinstance(error.__cause__, RecursionError) or "nested too deeply" in error.message:
            raise refused(_TOO_DEEP, limit=DEPTH_MAX) from None
        raise
    try:
        _check(document)
        return replace(document, definitions=tuple(_in_schema_names(node) for node in document.definitions))
    except RecursionError:
        raise refused(_TOO_DEEP, limit=DEPTH_MAX) from None


def asks_for_schema(document: DocumentNode) -> bool:
    return any(field.name.value in _SCHEMA_FIELDS for node in document.definitions for field in _fields_below(node))


def refused(message: str, node: Node | None = None, **details: object) -> GraphQLError:
    return GraphQLError(message, node, original_error=InvalidRequest(message, **details))


def _check(document: DocumentNode) -> None:
    fields = [field for node in document.definitions for field in _fields_below(node)]
    fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
    repeats = Counter((field.alias or field.name).value for field in fields)
    _check_count("aliases", sum(field.alias is not None for field in fields), ALIASES_MAX)
    _check_count("fragments", len(fragments), FRAGMENTS_MAX)
    _check_count("fields of one name", max(repeats.values(), default=0), REPEATS_MAX)
    depths = _Depths({node.name.value: node for node in fragments})
    for node in document.definitions:
        # How deep a fragment is, depends on where it is spread; one that is nowhere, validation refuses.
        if isinstance(node, OperationDefinitionNode):
            _check_count("levels", depths.below(node), DEPTH_MAX, node)


def _check_count(what: str, count: int, most: int, node: Node | None = None) -> None:
    if count > most:
        raise refused(f"the document has {count} {what}, at most {most} are allowed", node, limit=most)


class _Depths:
    """Levels of fields; a fragment is looked at once, and a circle of them ends where it began."""

    def __init__(self, fragments: Fragments) -> None:
        self._fragments = fragments
        self._known: dict[str, int] = {}

    def below(self, node: Node) -> int:
        return max(map(self._of, _selections(node)), default=0)

    def _of(self, node: Node) -> int:
        if isinstance(node, FieldNode):
            free = SCHEMA_DEPTH_FREE if node.name.value in _SCHEMA_FIELDS else 0
            return 1 - free + self.below(node)
        if isinstance(node, FragmentSpreadNode):
            return self._of_fragment(node.name.value)
        return self.below(node)

    def _of_fragment(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = 0
            self._known[name] = self.below(self._fragments[name]) if name in self._fragments else 0
        return self._known[name]


def _in_schema_names(node: Written) -> Written:
    """Whoever wrote `model_id` means `modelId`, and gets it back as `model_id`."""
    chosen: SelectionSetNode | None = getattr(node, "selection_set", None)
    if chosen is not None:
        selections = tuple(_in_schema_names(selection) for selection in chosen.selections)
        node = replace(node, selection_set=replace(chosen, selections=selections))  # type: ignore[call-arg]
    if not isinstance(node, FieldNode):
        return node
    arguments = tuple(_argument(argument) for argument in node.arguments or ())
    alias = node.alias or (node.name if _is_snake(node.name) else None)
    return replace(node, alias=alias, name=_camel(node.name), arguments=arguments)


def _argument(node: ArgumentNode) -> ArgumentNode:
    return replace(node, name=_camel(node.name))


def _is_snake(name: NameNode) -> bool:
    return _SNAKE.fullmatch(name.value) is not None


def _camel(name: NameNode) -> NameNode:
    if not _is_snake(name):
        return name
    first, *rest = name.value.split("_")
    return replace(name, value=first + "".join(map(str.capitalize, rest)))


def _fields_below(node: Node) -> Iterator[FieldNode]:
    """All that are written below it; fragments that it spreads are written elsewhere."""
    for selection in _selections(node):
        if isinstance(selection, FieldNode):
            yield selection
        yield from _fields_below(selection)


def _selections(node: Node) -> Sequence[SelectionNode]:
    chosen: SelectionSetNode | None = getattr(node, "selection_set", None)
    return chosen.selections if chosen is not None else ()

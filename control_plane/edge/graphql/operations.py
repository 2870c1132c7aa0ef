"""Runs what was asked against a schema: whole answers, and streams of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import strawberry
from graphql import DocumentNode, GraphQLError, OperationType, get_operation_ast
from strawberry.extensions import DisableIntrospection, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult

from control_plane.domain.errors import MethodNotAllowed
from control_plane.domain.limits import LimitClass
from control_plane.edge.graphql.asking import Asked
from control_plane.edge.graphql.context import Call, Context
from control_plane.edge.graphql.documents import asks_for_schema, read, refused
from control_plane.edge.graphql.failures import Json, told


class ReadAlready(SchemaExtension):
    """Hands the document over that was read within our bounds, and charges for the schema, which has no resolver."""

    def on_parse(self) -> Generator[None, None, None]:
        self.execution_context.graphql_document = self.execution_context.context.document
        yield

    def on_execute(self) -> Generator[None, None, None]:
        context: Context = self.execution_context.context
        if asks_for_schema(context.document):
            context.call.visit.enter(LimitClass.DEFAULT)
        yield


class Schema(strawberry.Schema):
    """`tells_itself`: whether it may be introspected; else its refusals do not propose names of it either."""

    def __init__(self, query: type, mutation: type, subscription: type, scalars: Any, *, tells_itself: bool) -> None:
        extensions: list[Any] = [ReadAlready] if tells_itself else [ReadAlready, DisableIntrospection]
        config = StrawberryConfig(scalar_map=scalars, disable_field_suggestions=not tells_itself)
        super().__init__(query, mutation, subscription, extensions=extensions, config=config)

    def process_errors(self, errors: list[GraphQLError], execution_context: object = None) -> None:
        """Not logged here: most are no faults, and those that are, are logged where they are told."""


class Refused(Exception):
    """An operation that did not begin, or whose stream broke; `errors` as they are told."""

    def __init__(self, errors: list[Json]) -> None:
        super().__init__(errors)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Operations:
    schema: Schema
    debug: bool = False

    async def answer(self, asked: Asked, call: Call, *, only_reads: bool = False) -> Json:
        """Raises MethodNotAllowed where it is no query but `only_reads`."""
        try:
            document, kind = _read(asked)
            if only_reads and kind is not OperationType.QUERY:
                raise MethodNotAllowed(f"a {kind.value} is not asked with GET; send it with POST", allowed=["POST"])
            if kind is OperationType.SUBSCRIPTION:
                raise refused("a subscription needs a WebSocket")
        except GraphQLError as error:
            return {"data": None, "errors": self.told([error], call)}
        result = await self.schema.execute(
            asked.query, asked.variables, Context(call, document), operation_name=asked.operation_name
        )
        return self._rendered(result, call)

    async def follow(self, asked: Asked, call: Call) -> AsyncGenerator[Json, None]:
        """One answer, or those of a subscription; closing it ends what runs. Raises Refused."""
        try:
            document, _ = _read(asked)
        except GraphQLError as error:
            raise Refused(self.told([error], call)) from None
        results = await self.schema.stream(
            asked.query, asked.variables, Context(call, document), operation_name=asked.operation_name
        )
        async with aclosing(results):
            async for result in results:
                assert isinstance(result, ExecutionResult)  # other ones are of @defer, which is switched off
                # A field's error has its path; what has none is of the whole operation.
                if result.errors and result.data is None and not any(error.path for error in result.errors):
                    raise Refused(self.told(result.errors, call))
                yield self._rendered(result, call)

    def told(self, errors: list[GraphQLError], call: Call) -> list[Json]:
        return told(errors, call.request_id, debug=self.debug)

    def _rendered(self, result: ExecutionResult, call: Call) -> Json:
        if not result.errors:
            return {"data": result.data}
        return {"data": result.data, "errors": self.told(result.errors, call)}


def _read(asked: Asked) -> tuple[DocumentNode, OperationType]:
    """The document and what kind of operation is meant. Raises GraphQLError."""
    document = read(asked.query)
    operation = get_operation_ast(document, asked.operation_name)
    if operation is None:
        raise refused(_missing(asked))
    return document, operation.operation


def _missing(asked: Asked) -> str:
    if asked.operation_name is not None:
        return f"the document has no operation {asked.operation_name[:100]!r}"
    return "the document has no operation, or several: then `operationName` says which"

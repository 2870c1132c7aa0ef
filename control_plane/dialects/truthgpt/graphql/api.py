"""GraphQL as one of the APIs that HTTP serves."""

from __future__ import annotations

from functools import cache

from control_plane.dialects.truthgpt.graphql.mutations import Mutation
from control_plane.dialects.truthgpt.graphql.queries import Query
from control_plane.dialects.truthgpt.graphql.scalars import scalars
from control_plane.dialects.truthgpt.graphql.subscriptions import Subscription
from control_plane.edge.graphql.http import graphql_routes
from control_plane.edge.graphql.operations import Schema
from control_plane.edge.http.routing import Dialect


@cache
def schema(tells_itself: bool) -> Schema:
    return Schema(Query, Mutation, Subscription, scalars(), tells_itself=tells_itself)


DIALECT = Dialect(name="graphql", routes=graphql_routes(schema))

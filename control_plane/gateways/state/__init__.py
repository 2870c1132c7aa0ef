"""What survives a restart: the database and the directory it lies in."""

from control_plane.gateways.state.answers import SqlAnswerStore
from control_plane.gateways.state.database import SqlDatabase, open_database
from control_plane.gateways.state.directory import StateDirectory, claim_state_directory
from control_plane.gateways.state.keys import SqlKeyStore
from control_plane.gateways.state.metrics import SqlMetricStore
from control_plane.gateways.state.models import SqlModelStore

__all__ = [
    "SqlAnswerStore",
    "SqlDatabase",
    "SqlKeyStore",
    "SqlMetricStore",
    "SqlModelStore",
    "StateDirectory",
    "claim_state_directory",
    "open_database",
]

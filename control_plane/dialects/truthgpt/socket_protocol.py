"""TruthGPT's words on WebSockets: what a client may send (contract 2.4)."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from control_plane.dialects.truthgpt.protocol import InputData, Options


class Ping(Struct, tag_field="type", tag="ping"):
    pass


class SubscribeOptimization(Struct, tag_field="type", tag="subscribe_optimization"):
    optimization_id: str


class UnsubscribeOptimization(Struct, tag_field="type", tag="unsubscribe_optimization"):
    optimization_id: str


class SubscribeInference(Struct, tag_field="type", tag="subscribe_inference"):
    model_id: str


class UnsubscribeInference(Struct, tag_field="type", tag="unsubscribe_inference"):
    model_id: str


class GetStatus(Struct, tag_field="type", tag="get_status"):
    pass


class StartInference(Options, tag_field="type", tag="start_inference"):
    """`input_data`: a text, or the object that REST takes. An option here wins over the same one in it (D-06)."""

    input_data: str | InputData


class StopInference(Struct, tag_field="type", tag="stop_inference"):
    pass


WatchMessage = Ping | SubscribeOptimization | UnsubscribeOptimization | SubscribeInference | UnsubscribeInference
StatusMessage = Ping | GetStatus
InferenceMessage = Ping | StartInference | StopInference
watch_decoder: msgspec.json.Decoder[WatchMessage] = msgspec.json.Decoder(WatchMessage)
status_decoder: msgspec.json.Decoder[StatusMessage] = msgspec.json.Decoder(StatusMessage)
inference_decoder: msgspec.json.Decoder[InferenceMessage] = msgspec.json.Decoder(InferenceMessage)

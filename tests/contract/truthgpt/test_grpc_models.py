"""Models over gRPC: T-GRPC-01 to 04, T-GRPC-12, and what is told in-band (D-15)."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.models import Description, ModelKind
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.grpc_client import trailers
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import make_world


async def test_t_grpc_01_a_loaded_model_is_answered_with_its_id(served: Served) -> None:
    request = served.pb.LoadModelRequest(model_name="vector", model_type="generic")
    answer = await served.stub.LoadModel(request, metadata=served.admin)
    assert (answer.model_id, answer.success, answer.error_message) == ("vector", True, "")
    assert "vector--r1" in served.world.triton.loaded


async def test_t_grpc_01_loading_twice_is_the_same_success(served: Served) -> None:
    request = served.pb.LoadModelRequest(model_name="coder", model_type="transformer")
    answers = [await served.stub.LoadModel(request, metadata=served.admin) for _ in range(2)]
    assert [(answer.model_id, answer.success) for answer in answers] == [("coder", True)] * 2


async def test_t_grpc_01_a_config_of_strings_that_differs_makes_and_loads_a_new_revision(served: Served) -> None:
    config = {"instance_count": "2", "max_batch_size": "4", "timeout_seconds": "60"}
    request = served.pb.LoadModelRequest(model_name="vector", config=config)
    answer = await served.stub.LoadModel(request, metadata=served.admin)
    assert (answer.model_id, answer.success) == ("vector:2", True)
    loaded = served.world.services.catalog.resolve("vector:2")
    assert (loaded.revision.instance_count, loaded.revision.signature.max_batch_size) == (2, 4)
    assert loaded.revision.created_by == "somebody"
    assert served.world.services.catalog.resolve("vector").revision.number == 1


@pytest.mark.parametrize(
    ("name", "model_type", "config", "said"),
    [
        ("nobody", "", {}, "Model not found"),
        ("coder:7", "", {}, "Model not found"),
        ("b$(touch x)", "", {}, "cannot name a model"),
        ("", "", {}, "cannot name a model"),
        ("coder", "diffusion", {}, "transformer"),
        ("coder", "dreamer", {}, "model_type"),
        ("coder", "", {"learning_rate": "1"}, "learning_rate"),
        ("coder", "", {"instance_count": "many"}, "instance_count"),
        ("coder", "", {"dtype": "float16"}, "float16"),
        ("coder", "", {"device": "cuda"}, "GPU"),
    ],
)
async def test_t_grpc_01_a_load_that_cannot_be_done_is_told_in_band(
    served: Served, name: str, model_type: str, config: dict[str, str], said: str
) -> None:
    request = served.pb.LoadModelRequest(model_name=name, model_type=model_type, config=config)
    answer = await served.stub.LoadModel(request, metadata=served.admin)
    assert (answer.model_id, answer.success) == ("", False)
    assert said in answer.error_message


async def test_t_grpc_01_a_failure_inside_triton_is_told_in_band_with_its_reason_and_code(served: Served) -> None:
    served.world.triton.refusals["vector--r1"] = EngineFailed("the model's file is not ONNX")
    call = served.stub.LoadModel(served.pb.LoadModelRequest(model_name="vector"), metadata=served.admin)
    answer = await call
    assert (answer.success, answer.error_message) == (False, "the model's file is not ONNX")
    assert await call.code() is grpc.StatusCode.OK
    assert trailers(await call.trailing_metadata())["x-error-code"] == "PROCESSING_FAILED"


async def test_t_grpc_02_an_unloaded_model_is_out_of_triton_and_stays_known(served: Served) -> None:
    for _ in range(2):  # unloading what is unloaded is fine
        answer = await served.stub.UnloadModel(served.pb.UnloadModelRequest(model_id="coder"), metadata=served.admin)
        assert (answer.success, answer.error_message) == (True, "")
    assert served.world.triton.loaded == set()
    got = await served.stub.GetModel(served.pb.GetModelRequest(model_id="coder"), metadata=served.admin)
    assert got.model.status == "unloaded"


async def test_t_grpc_02_unloading_an_unknown_model_says_so(served: Served) -> None:
    call = served.stub.UnloadModel(served.pb.UnloadModelRequest(model_id="nobody"), metadata=served.admin)
    answer = await call
    assert (answer.success, answer.error_message) == (False, "Model not found")
    assert trailers(await call.trailing_metadata())["x-error-code"] == "MODEL_NOT_FOUND"


async def test_a_load_whose_deadline_passes_goes_on_and_the_next_one_waits_for_it(serve: Serve) -> None:
    served = await serve(await make_world(text_revision("coder")))
    request = served.pb.LoadModelRequest(model_name="coder")
    served.world.triton.loads_go_on.clear()
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await served.stub.LoadModel(request, metadata=served.admin, timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    served.world.triton.loads_go_on.set()
    assert (await served.stub.LoadModel(request, metadata=served.admin, timeout=5)).success
    assert served.world.triton.loads == ["coder--r1"]


async def test_t_grpc_04_a_model_has_every_field_of_the_seed(served: Served) -> None:
    answer = await served.stub.GetModel(served.pb.GetModelRequest(model_id="coder"), metadata=served.admin)
    assert (answer.success, answer.error_message) == (True, "")
    assert {field.name: value for field, value in answer.model.ListFields()} == {
        "model_id": "coder",
        "name": "coder",
        "type": "transformer",
        "parameters": 1000,
        "size_bytes": 3000,
        "device": "cpu",
        "dtype": "int8",
        "status": "loaded",
        "created_at": "2026-11-21T11:00:00.000Z",
        "updated_at": "2026-11-21T12:00:00.000Z",
    }


async def test_t_grpc_04_a_reference_names_a_revision_and_the_stable_one_by_its_bare_name(serve: Serve) -> None:
    served = await serve(await make_world(text_revision("coder"), text_revision("coder", 2)))
    ids = {}
    for reference in ("coder", "coder:1", "coder@stable", "coder:2"):
        request = served.pb.GetModelRequest(model_id=reference)
        ids[reference] = (await served.stub.GetModel(request, metadata=served.admin)).model.model_id
    assert ids == {"coder": "coder", "coder:1": "coder", "coder@stable": "coder", "coder:2": "coder:2"}


@pytest.mark.parametrize("reference", ["nobody", "coder:2", "coder@candidate"])
async def test_t_grpc_04_an_unknown_model_is_told_in_band_without_a_model(served: Served, reference: str) -> None:
    answer = await served.stub.GetModel(served.pb.GetModelRequest(model_id=reference), metadata=served.admin)
    assert (answer.success, answer.error_message, answer.HasField("model")) == (False, "Model not found", False)


async def test_t_grpc_03_a_list_is_cut_to_a_page_and_counted_before_it(serve: Serve) -> None:
    served = await serve(await make_world(*(tensor_revision(f"vector-{number}") for number in range(5))))
    request = served.pb.ListModelsRequest(limit=2, offset=3)
    answer = await served.stub.ListModels(request, metadata=served.admin)
    assert ([model.name for model in answer.models], answer.total_count) == (["vector-3", "vector-4"], 5)
    beyond = await served.stub.ListModels(served.pb.ListModelsRequest(offset=9), metadata=served.admin)
    assert (len(beyond.models), beyond.total_count) == (0, 5)


async def test_t_grpc_03_internal_models_are_neither_listed_nor_counted(serve: Serve) -> None:
    part = tensor_revision("part", description=Description(is_internal=True))
    served = await serve(await make_world(tensor_revision("vector"), part))
    answer = await served.stub.ListModels(served.pb.ListModelsRequest(), metadata=served.admin)
    assert ([model.name for model in answer.models], answer.total_count) == (["vector"], 1)


async def test_t_grpc_03_an_unset_limit_is_100(serve: Serve) -> None:
    served = await serve(await make_world(*(tensor_revision(f"vector-{number}") for number in range(101))))
    answer = await served.stub.ListModels(served.pb.ListModelsRequest(), metadata=served.admin)
    assert (len(answer.models), answer.total_count) == (100, 101)


@pytest.mark.parametrize(
    ("model_type", "status", "names"),
    [
        ("", "", ["coder", "vector"]),
        ("transformer", "", ["coder"]),
        ("generic", "", ["vector"]),
        ("diffusion", "", []),
        ("", "loaded", ["coder"]),
        ("", "unloaded", ["vector"]),
        ("", "optimizing", []),
        ("transformer", "unloaded", []),
    ],
)
async def test_t_grpc_03_a_filter_is_by_type_and_status(
    served: Served, model_type: str, status: str, names: list[str]
) -> None:
    request = served.pb.ListModelsRequest(model_type=model_type, status=status)
    answer = await served.stub.ListModels(request, metadata=served.admin)
    assert ([model.name for model in answer.models], answer.total_count) == (names, len(names))


@pytest.mark.parametrize(
    "wrong", [{"limit": -1}, {"limit": 1001}, {"offset": -1}, {"model_type": "dreamer"}, {"status": "asleep"}]
)
async def test_t_grpc_03_a_value_out_of_bounds_is_refused(served: Served, wrong: dict[str, int | str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.ListModels(served.pb.ListModelsRequest(**wrong), metadata=served.admin)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailers(refused.value.trailing_metadata())["x-error-code"] == "INVALID_REQUEST"


async def test_a_model_of_which_little_is_known_leaves_those_fields_unset(serve: Serve) -> None:
    unknown = replace(tensor_revision("vector"), description=Description(ModelKind.GENERIC))
    served = await serve(await make_world(unknown))
    answer = await served.stub.GetModel(served.pb.GetModelRequest(model_id="vector"), metadata=served.admin)
    assert (answer.model.parameters, answer.model.dtype, answer.model.type) == (0, "", "generic")

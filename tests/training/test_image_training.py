"""The UNet and the text encoder learn, go on where they stopped, and are exported as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from training.images.encoder import Reader, TextEncoder, TextShape
from training.images.export import export, write_unet
from training.images.sample import DIFFUSION, ENCODER, TEXT_TO_IMAGE, UNET, Pipeline, Sketch
from training.images.schedule import TRAIN_STEPS, alphas_cumprod
from training.images.tokenizer import train_tokenizer
from training.images.train import Run, Trainer
from training.images.train_encoder import TextRun, TextTrainer
from training.images.unet import NULL_ROW, Painter, Shape

SHAPE = Shape(channels=(8, 8, 16), condition=8, embedding=16, groups=4)
RUN = Run(steps=30, final_steps=10, batch=16, rate=5e-3, shape=SHAPE)
TEXT_SHAPE = TextShape(vocab_size=200, width=16, layers=1, heads=2, length=24)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(0, TEXT_SHAPE.vocab_size, prompts=500)


@pytest.fixture(scope="module")
def painter() -> Painter:
    """Untrained, but with no layer left at zero, so that every weight shows in the noise."""
    painter = Painter(SHAPE, seed=1)
    torch.manual_seed(2)
    for weight in painter.unet.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return painter.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def repository(painter: Painter, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = TextEncoder(Reader(TEXT_SHAPE, seed=0), painter.conditions).requires_grad_(False).eval()
    export(painter, encoder, folder / "tokenizer.json", folder)
    return folder


def test_the_signal_falls_from_all_to_nothing() -> None:
    levels = alphas_cumprod()
    assert len(levels) == TRAIN_STEPS
    assert (np.diff(levels) < 0).all()
    assert levels[0] > 0.999
    assert 0 < levels[-1] < 1e-4


def test_training_lowers_the_loss() -> None:
    trainer = Trainer(RUN, compiled=False)
    losses = [trainer.advance() for _ in range(RUN.steps)]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, stopped = Trainer(RUN, compiled=False), Trainer(RUN, compiled=False)
    expected = [whole.advance() for _ in range(4)]
    found = [stopped.advance() for _ in range(2)]
    stopped.save(tmp_path / "unet.pt")
    resumed = Trainer(RUN, compiled=False)
    resumed.resume(tmp_path / "unet.pt")
    found += [resumed.advance() for _ in range(2)]
    assert found == expected
    averages = (whole.averaged.state_dict(), resumed.averaged.state_dict())
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])


def test_reading_prompts_is_learned(tokenizer: Tokenizer) -> None:
    trainer = TextTrainer(TextRun(steps=60, final_steps=10, batch=32, rate=1e-2, shape=TEXT_SHAPE), tokenizer)
    losses = [trainer.advance() for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("rows", [1, 3])
def test_the_exported_unet_agrees_with_torch_for_any_number_of_images(
    repository: Path, painter: Painter, rows: int
) -> None:
    graph = onnxruntime.InferenceSession(str(repository / UNET / "1" / "model.onnx"))
    sample, condition = torch.randn(rows, 1, 32, 32), torch.randn(rows, SHAPE.condition)
    timestep = torch.randint(TRAIN_STEPS, (rows,))
    expected = painter.unet(sample, timestep, condition).numpy()
    given = {"sample": sample.numpy(), "timestep": timestep.numpy(), "condition": condition.numpy()}
    (found,) = graph.run(["noise"], given)
    assert np.abs(expected - sample.numpy()).max() > 0.1
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("tokens", [1, 9, TEXT_SHAPE.length])
def test_the_exported_text_encoder_agrees_with_torch_and_looks_at_no_filling(
    repository: Path, painter: Painter, tokens: int
) -> None:
    graph = onnxruntime.InferenceSession(str(repository / ENCODER / "1" / "model.onnx"))
    encoder = TextEncoder(Reader(TEXT_SHAPE, seed=0), painter.conditions).eval()
    ids = torch.randint(3, TEXT_SHAPE.vocab_size, (1, tokens))
    with torch.no_grad():
        expected = encoder(ids, torch.ones_like(ids)).numpy()
    given = {"input_ids": ids.numpy(), "attention_mask": np.ones((1, tokens), np.int64)}
    assert np.abs(graph.run(["condition"], given)[0] - expected).max() < 1e-4
    filled = {name: np.pad(array, ((0, 0), (0, TEXT_SHAPE.length - tokens))) for name, array in given.items()}
    assert np.abs(graph.run(["condition"], filled)[0] - expected).max() < 1e-4


def test_the_pipelines_files_say_what_the_sampler_needs(repository: Path, painter: Painter) -> None:
    diffusion, hybrid = (
        json.loads((repository / name / "1" / "diffusion.json").read_text(encoding="utf-8"))
        for name in (DIFFUSION, TEXT_TO_IMAGE)
    )
    assert (diffusion["labels"], diffusion["text_length"]) == ([str(digit) for digit in range(10)], None)
    assert (hybrid["labels"], hybrid["text_length"]) == ([], TEXT_SHAPE.length)
    table = painter.conditions.digits.weight.numpy()
    assert np.array_equal(np.load(repository / DIFFUSION / "1" / "conditions.npy"), table)
    assert np.array_equal(np.load(repository / TEXT_TO_IMAGE / "1" / "conditions.npy"), table[NULL_ROW:])


def test_what_is_exported_draws_the_same_image_for_the_same_seed(repository: Path) -> None:
    pipeline = Pipeline(repository, TEXT_TO_IMAGE)
    seven, sketch = pipeline.read("a seven"), Sketch(steps=3)
    first, again, other = pipeline.draw([seven] * 3, [1, 1, 2], sketch)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(first).max() <= 1


def test_an_unet_is_exported_twice_as_the_same_bytes(painter: Painter, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        file.mkdir()
        write_unet(painter, file)
    assert (files[0] / "model.onnx").read_bytes() == (files[1] / "model.onnx").read_bytes()

"""How the next token is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from triton_backends.text_generation.options import GenerationOptions
from triton_backends.text_generation.sampling import Sampler, new_samplers

VOCABULARY = 1000


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 3, VOCABULARY).astype(np.float32)


def sampler(**options: object) -> Sampler:
    return new_samplers(GenerationOptions(**options), [None])[0]


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return weights / weights.sum()


def test_temperature_0_takes_the_most_likely_token(logits: np.ndarray) -> None:
    assert sampler(temperature=0).choose(logits).token_id == int(logits.argmax())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-45, 1e-38])
def test_a_tiny_temperature_takes_the_most_likely_token(logits: np.ndarray, temperature: float) -> None:
    assert sampler(temperature=temperature, top_p=0.9).choose(logits).token_id == int(logits.argmax())


def test_the_probability_is_that_of_the_unscaled_softmax(logits: np.ndarray) -> None:
    chosen = sampler(temperature=0.2, top_k=5, seed=1).choose(logits)
    assert chosen.probability == pytest.approx(softmax(logits)[chosen.token_id], rel=1e-5)


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_share_of_the_nucleus(
    logits: np.ndarray, top_p: float, temperature: float
) -> None:
    shares = softmax(logits, temperature)
    order = np.argsort(-shares, kind="stable")
    nucleus = order[: int(np.searchsorted(np.cumsum(shares[order]), top_p)) + 1]
    one = sampler(temperature=temperature, top_p=top_p, seed=7)
    drawn = np.bincount([one.choose(logits).token_id for _ in range(4000)], minlength=VOCABULARY)
    assert set(np.flatnonzero(drawn)) <= set(nucleus)
    expected = np.zeros(VOCABULARY)
    expected[nucleus] = shares[nucleus] / shares[nucleus].sum()
    # Five standard deviations of a binomial share.
    assert np.all(np.abs(drawn / 4000 - expected) <= 5 * np.sqrt(expected / 4000) + 1e-3)


def test_tokens_equally_likely_are_in_the_nucleus_together() -> None:
    flat = np.zeros(8, np.float32)
    drawn = {sampler(temperature=1, top_p=0.01, seed=seed).choose(flat).token_id for seed in range(200)}
    assert drawn == set(range(8))


def test_the_smallest_nucleus_is_the_most_likely_token(logits: np.ndarray) -> None:
    drawn = {sampler(temperature=2, top_p=1e-9, seed=seed).choose(logits).token_id for seed in range(50)}
    assert drawn == {int(logits.argmax())}


def test_top_k_keeps_the_k_most_likely(logits: np.ndarray) -> None:
    best = set(np.argsort(-logits)[:3].tolist())
    assert {sampler(temperature=2, top_k=3, top_p=1, seed=seed).choose(logits).token_id for seed in range(100)} == best


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(logits: np.ndarray) -> None:
    def draw(seed: int) -> list[int]:
        one = sampler(seed=seed, temperature=1)
        return [one.choose(logits).token_id for _ in range(20)]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    assert draw(-1) == draw(-1)


def test_candidates_differ_and_the_first_is_the_same_whatever_n_is(logits: np.ndarray) -> None:
    def draw(n: int) -> list[list[int]]:
        samplers = new_samplers(GenerationOptions(n=n, seed=4, temperature=1), [None] * n)
        return [[one.choose(logits).token_id for _ in range(10)] for one in samplers]

    assert draw(3)[0] == draw(1)[0]
    assert draw(3)[0] != draw(3)[1]


def test_a_penalty_moves_on_from_a_token_and_leaves_its_probability_alone(logits: np.ndarray) -> None:
    logits[7] = logits.max() + 1
    one = sampler(temperature=0, presence_penalty=2.0)
    first, second = one.choose(logits), one.choose(logits)
    assert first.token_id == 7
    assert second.token_id != 7
    assert second.probability == pytest.approx(softmax(logits)[second.token_id], rel=1e-5)


def test_top_logprobs_are_the_largest_in_order(logits: np.ndarray) -> None:
    top = sampler(temperature=0, logprobs=20).choose(logits).top_logprobs
    expected = np.sort(np.log(softmax(logits)))[::-1][:20]
    assert [logprob for _, logprob in top] == pytest.approx(expected.tolist(), abs=1e-5)


def test_all_probabilities_together_make_one() -> None:
    small = np.array([0.5, -1, 2], np.float32)
    found = {}
    for seed in range(200):
        chosen = sampler(temperature=2, top_p=1, seed=seed).choose(small)
        found[chosen.token_id] = chosen.probability
    assert sum(found.values()) == pytest.approx(1)


def test_logits_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(FloatingPointError):
        sampler().choose(np.full(VOCABULARY, np.nan, np.float32))


@pytest.mark.parametrize("size", [4, 1000, 50_000])
def test_a_row_of_a_batch_gives_what_it_gives_alone(size: int) -> None:
    batch = np.random.default_rng(1).normal(0, 3, (8, size)).astype(np.float32)
    for row in batch:
        alone = sampler(seed=9, logprobs=5).choose(row.copy())
        assert sampler(seed=9, logprobs=5).choose(row) == alone

"""Decoding with exits: the same text as the whole model, whatever is drafted."""

import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from nasc.decoding import (
    ExitDecoder,
    Sampling,
    decode_early_exit,
    decode_full,
    decode_self_speculative,
    decode_speculative,
    shortened,
)
from nasc.decoding.strategies import verify
from nasc.errors import UsageError
from nasc.models.torchvision import import_torchvision

PROMPT = [3, 1, 4, 1, 5]


@pytest.fixture(scope="module")
def transformers() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("torchvision") is not None:
            import_torchvision()  # transformers imports it when it is installed; this import knows how to
        yield pytest.importorskip("transformers")


def llama(transformers: Any, layers: int = 4, vocabulary: int = 50) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocabulary,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model(transformers: Any) -> Any:
    return llama(transformers)


@pytest.fixture(scope="module")
def decoder(model: Any) -> ExitDecoder:
    return ExitDecoder(model)


def by_hand(model: Any, prompt: list[int], count: int) -> list[int]:
    """Greedy, without any cache."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_decoding_with_the_cache_is_decoding_without_it(model: Any, decoder: ExitDecoder) -> None:
    assert list(decode_full(decoder, PROMPT, 20).tokens) == by_hand(model, PROMPT, 20)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_fixed_exit_is_the_shortened_model(model: Any, decoder: ExitDecoder, depth: int) -> None:
    with shortened(model, depth):
        expected = by_hand(model, PROMPT, 10)
    assert list(decode_full(decoder, PROMPT, 10, exit_=depth).tokens) == expected
    assert len(model.model.layers) == 4


@pytest.mark.parametrize("exits", [(1, 2, 3, 4), (2, 4), (1, 4)])
@pytest.mark.parametrize("draft", [1, 3, 6])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 2.0])
def test_greedy_self_speculation_gives_the_whole_models_text(
    model: Any, exits: tuple[int, ...], draft: int, threshold: float
) -> None:
    decoder = ExitDecoder(model, exits)
    expected = decode_full(decoder, PROMPT, 17).tokens
    found = decode_self_speculative(decoder, PROMPT, 17, draft=draft, threshold=threshold)
    assert found.tokens == expected
    assert found.drafted >= found.accepted
    assert sum(found.exits.values()) == found.drafted


@pytest.mark.parametrize("family", ["gpt2", "opt", "qwen2"])
def test_other_decoders_work_the_same(transformers: Any, family: str) -> None:
    torch.manual_seed(1)
    configs = {
        "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, vocab_size=40, n_positions=64),
        "opt": lambda: transformers.OPTConfig(
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=40,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
        ),
        "qwen2": lambda: transformers.Qwen2Config(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=40,
            max_position_embeddings=64,
        ),
    }
    model = transformers.AutoModelForCausalLM.from_config(configs[family]()).eval()
    decoder = ExitDecoder(model)
    expected = decode_full(decoder, PROMPT, 12).tokens
    assert list(expected) == by_hand(model, PROMPT, 12)
    assert decode_self_speculative(decoder, PROMPT, 12, draft=3, threshold=0.1).tokens == expected


def test_a_draft_models_text_is_the_large_models(transformers: Any, decoder: ExitDecoder) -> None:
    drafter = ExitDecoder(llama(transformers, 1))
    found = decode_speculative(decoder, drafter, PROMPT, 15, draft=3)
    assert found.tokens == decode_full(decoder, PROMPT, 15).tokens
    assert found.verifications >= 4


def test_a_drafter_that_is_the_model_has_every_token_accepted(decoder: ExitDecoder) -> None:
    found = decode_speculative(decoder, decoder, PROMPT, 15, draft=4)
    assert found.acceptance == 1.0
    assert found.verifications == 3
    assert found.tokens_per_verification == 5


def test_confidence_decides_the_exit_and_layers_are_the_sum_of_depths(decoder: ExitDecoder) -> None:
    first = decode_early_exit(decoder, PROMPT, 8, 0.0)
    assert first.exits == {1: 8}
    assert first.layers == len(PROMPT) + 7
    whole = decode_early_exit(decoder, PROMPT, 8, 1.5)
    assert whole.exits == {4: 8}
    assert whole.tokens == decode_full(decoder, PROMPT, 8).tokens
    assert whole.layers == 4 * (len(PROMPT) + 7)


def test_early_exits_fill_missing_layers_before_anyone_attends_to_them(model: Any, decoder: ExitDecoder) -> None:
    """Against a recomputation without cache: every position's state runs through the layers below its readers' exits."""
    found = decode_early_exit(decoder, PROMPT, 10, 0.25)
    assert len(found.exits) > 1, "the threshold must split the tokens for this test to say anything"
    ids = list(PROMPT)
    for token in found.tokens:
        choice = None
        for depth in decoder.exits:
            with shortened(model, depth), torch.no_grad():
                scores = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            if depth == 4 or float(scores.softmax(-1).max()) > 0.25:
                choice = int(scores.argmax())
                break
        assert token == choice
        ids.append(token)


def test_sampled_drafts_follow_the_whole_models_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]])
    q = torch.tensor([0.05, 0.5, 0.05, 0.3, 0.1])
    counts, rejected = [0] * 5, 0
    for _ in range(6000):
        proposed = int(torch.multinomial(q, 1, generator=generator))
        kept, last = verify(p, [proposed], [q], generator)
        counts[proposed if kept else last] += 1
        rejected += not kept
    assert chisquare(counts, 6000 * (p[0].double() / p[0].double().sum()).numpy()).pvalue > 1e-3
    assert rejected / 6000 == pytest.approx(float((p[0] - q).clamp_min(0).sum()), abs=0.02)


def test_sampled_self_speculation_follows_the_model_on_a_tiny_vocabulary(transformers: Any) -> None:
    decoder = ExitDecoder(llama(transformers, 2, vocabulary=5))
    prompt, runs = [1, 2], 600
    with torch.no_grad():
        p = decoder.model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1].softmax(-1)
    counts = [0] * 5
    for seed in range(runs):
        sampling = Sampling(temperature=1.0, seed=seed)
        counts[decode_self_speculative(decoder, prompt, 1, draft=1, sampling=sampling).tokens[0]] += 1
    assert chisquare(counts, runs * (p.double() / p.double().sum()).numpy()).pvalue > 1e-3


def test_wrong_exits_are_refused(model: Any) -> None:
    with pytest.raises(UsageError, match="the last 4"):
        ExitDecoder(model, (1, 2))
    with pytest.raises(UsageError, match="depth from 1 to 4"), shortened(model, 9):
        pass
    with pytest.raises(UsageError, match="some early exit"):
        decode_self_speculative(ExitDecoder(model, (4,)), PROMPT, 3)

"""Models of torchvision, timm and transformers: traced whole, sliced rightly, nothing frozen that should move."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.graph import Network
from nasc.testing.architectures import scramble_norms
from nasc.testing.network import check_model

pytestmark = pytest.mark.slow

BOUNDARY = {"is an axis of the model's input", "reaches the model's output"}


def scramble(model: nn.Module) -> nn.Module:
    """Random values where a fresh model has constants, e.g. a head of zeros that would hide every mistake."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.1 * torch.randn_like(parameter))
    scramble_norms(model)
    return model


@pytest.mark.parametrize(
    "name", ["vgg11_bn", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121"]
)
def test_torchvision_networks_are_free_but_for_their_boundary(name: str, torchvision: Any) -> None:
    model = scramble(torchvision.models.get_model(name, weights=None))
    network = check_model(model, (torch.randn(1, 3, 64, 64),)).network
    assert network.unsupported == {}
    assert {dim.frozen for dim in network.dims.values() if dim.frozen} == BOUNDARY
    assert all(dim.maskable for dim in network.dims.values() if not dim.frozen)
    for parameter, axes in network.parameters.items():
        free = [dim for axis in axes for dim in axis.dims() if dim.frozen is None]
        assert free or is_boundary(network, parameter), parameter


def is_boundary(network: Network, parameter: str) -> bool:
    """All of a parameter's dims reach the input or output (the classifier's bias), or it has none (a counter)."""
    return all(dim.frozen in BOUNDARY for axis in network.parameters[parameter] for dim in axis.dims())


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "resnext50_32x4d", "regnet_y_400mf", "convnext_tiny"])
def test_more_of_torchvision_obeys_the_laws(name: str, torchvision: Any) -> None:
    report = check_model(scramble(torchvision.models.get_model(name, weights=None)), (torch.randn(1, 3, 64, 64),))
    assert report.network.unsupported == {}


@pytest.mark.parametrize(
    "name",
    ["ghostnet_100", "rexnet_100", "nfnet_f0", "res2net50_26w_4s", "mobilevit_xxs", "resnest14d", "ecaresnet26t"],
)
def test_timm_networks_obey_the_laws(name: str, torchvision: Any) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (extra: zoo)")
    report = check_model(scramble(timm.create_model(name, pretrained=False)), (torch.randn(1, 3, 64, 64),))
    assert report.network.unsupported == {}


class Logits(nn.Module):
    """A language model as a function of token ids to a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).logits


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("BertForSequenceClassification", {"num_attention_heads": 4}),
        ("LlamaForCausalLM", {"num_attention_heads": 4, "num_key_value_heads": 2, "use_cache": False}),
        ("GPT2LMHeadModel", {"n_embd": 64, "n_layer": 2, "n_head": 4, "use_cache": False}),
    ],
)
def test_language_models_obey_the_laws(name: str, sizes: dict[str, Any], torchvision: Any) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: zoo)")
    model_class = getattr(transformers, name)
    common = {"vocab_size": 99, "bos_token_id": None, "eos_token_id": None}
    if "n_embd" not in sizes:
        common |= {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96}
    model = scramble(Logits(model_class(model_class.config_class(**common, **sizes))))
    report = check_model(model, (torch.randint(0, 99, (2, 12)),))
    assert report.network.unsupported == {}
    assert report.prunable_share > 0.99

import importlib.util
import json

import pytest
import torch

from nasc.errors import ModelError, UsageError
from nasc.models import load_model

needs = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")
    for name in ("timm", "torchvision", "transformers")
}


@needs["torchvision"]
def test_torchvision_models_are_built_for_the_classes_of_the_data():
    model = load_model("torchvision:mobilenet_v3_small", num_classes=11, input_shape=(3, 32, 32))
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 11)


@needs["torchvision"]
def test_a_torchvision_model_for_colour_pictures_says_so_on_grey_ones():
    with pytest.raises(ModelError, match=r"torchvision:resnet18 fails on pictures of 1x28x28"):
        load_model("torchvision:resnet18", num_classes=10, input_shape=(1, 28, 28))


@needs["torchvision"]
def test_an_unknown_torchvision_name_gives_near_misses():
    with pytest.raises(UsageError, match="unknown torchvision model 'resnet17'") as caught:
        load_model("torchvision:resnet17", num_classes=10, input_shape=(3, 32, 32))
    assert "resnet1" in caught.value.hint
    assert len(caught.value.hint) < 800


@needs["timm"]
@needs["torchvision"]
def test_timm_models_are_built_for_the_channels_and_classes_of_the_data():
    model = load_model("timm:mobilenetv3_small_050", num_classes=4, input_shape=(1, 32, 32))
    assert model.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 4)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    fields = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    path.write_text(json.dumps({"model_type": "vit", "image_size": 224, "patch_size": 8, **fields}))
    return path


@needs["transformers"]
@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_transformers_classifier_is_built_from_its_configuration(config, given):
    spec = f"hf:{config if given == 'file' else config.parent}"
    model = load_model(spec, num_classes=6, input_shape=(3, 32, 32))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 6)


@needs["transformers"]
def test_a_configuration_of_no_image_classifier_is_refused(config):
    config.write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ModelError, match="not the configuration of an image classifier"):
        load_model(f"hf:{config}", num_classes=6, input_shape=(3, 32, 32))


@needs["transformers"]
def test_code_beside_a_configuration_is_not_run(config):
    trap = config.parent / "trap"
    (config.parent / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass Config: pass\n")
    config.write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(ModelError):
        load_model(f"hf:{config.parent}", num_classes=6, input_shape=(3, 32, 32))
    assert not trap.exists()


@needs["transformers"]
def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"expected a transformers configuration at .*nowhere"):
        load_model(f"hf:{tmp_path / 'nowhere'}", num_classes=6, input_shape=(3, 32, 32))


@pytest.mark.parametrize("family", ["timm", "torchvision", "hf"])
def test_a_family_without_a_name_is_refused(family):
    with pytest.raises(UsageError, match=f"{family}: needs a name after the colon"):
        load_model(f"{family}:", num_classes=10, input_shape=(3, 32, 32))

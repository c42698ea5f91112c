import pytest
import torch
from torch import nn

from nasc.errors import ModelError, UsageError
from nasc.models import example_input, list_models, load_model

OWN = ["densenet-tiny", "digits-cnn", "mlp", "mobilenetv3-tiny", "resnet-tiny", "vgg-tiny"]

USER = """
import torch
from torch import nn

class Two(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x

def small(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

def anything(**options):
    return nn.Sequential(nn.Flatten(), nn.Linear(options["input_shape"][1] ** 2, options["num_classes"]))

def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def pair():
    return Two()

def colour():
    return nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten())

def text():
    return "a model"

def broken():
    raise RuntimeError("no weights")
"""


@pytest.fixture
def user(tmp_path):
    (tmp_path / "nets.py").write_text(USER)
    return tmp_path / "nets.py"


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_nascs_own_models_fit_every_picture_size(name, shape):
    model = load_model(name, num_classes=7, input_shape=shape)
    assert model(example_input(shape)).shape == (2, 7)


@pytest.mark.parametrize("name", OWN)
def test_every_hidden_width_follows_the_multiplier_in_multiples(name):
    full, half = (load_model(f"{name}{at}", num_classes=10, input_shape=(1, 28, 28)) for at in ("", "@0.5"))
    for (key, before), after in zip(full.named_parameters(), half.parameters(), strict=True):
        for axis, (wide, narrow) in enumerate(zip(before.shape, after.shape, strict=True)):
            if wide == narrow:  # kernels, the picture's channels, the classes, depthwise groups
                continue
            assert narrow % 4 == 0, (key, axis)
            assert abs(narrow - wide / 2) <= 4, (key, axis)
    assert parameters(half) < parameters(full) / 2 + 1000 or name == "mlp"


def test_widths_round_to_the_multiple_that_is_asked_for():
    model = load_model("resnet-tiny@0.6", num_classes=10, input_shape=(3, 32, 32), multiple=16)
    widths = {module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)}
    assert widths == {16, 32, 80}


@pytest.mark.parametrize("name", ["mobilenetv3-tiny", "resnet-tiny", "vgg-tiny", "densenet-tiny"])
def test_gradients_reach_every_parameter(name):
    model = load_model(name, num_classes=10, input_shape=(3, 32, 32))
    model(example_input((3, 32, 32), batch=8)).square().sum().backward()
    dead = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not dead


def test_the_same_torch_seed_gives_the_same_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        states.append(load_model("digits-cnn", num_classes=10, input_shape=(1, 8, 8)).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_example_input_is_the_same_every_time_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(example_input((3, 4, 4)), example_input((3, 4, 4)))
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_name_gives_near_misses_and_the_list():
    with pytest.raises(UsageError, match="unknown model 'resnet-tny'") as caught:
        load_model("resnet-tny", num_classes=10, input_shape=(3, 32, 32))
    assert "did you mean resnet-tiny" in caught.value.hint
    assert all(name in caught.value.hint for name in list_models())


@pytest.mark.parametrize("width", ["", "wide", "0", "-1", "nan"])
def test_a_width_that_is_no_positive_number_is_refused(width):
    with pytest.raises(UsageError, match="expected a width multiplier"):
        load_model(f"resnet-tiny@{width}", num_classes=10, input_shape=(3, 32, 32))


@pytest.mark.parametrize("function", ["small", "anything"])
def test_a_users_function_gets_the_arguments_it_names(user, function):
    assert load_model(f"{user}:{function}", num_classes=5, input_shape=(1, 8, 8))(torch.zeros(1, 1, 8, 8)).shape == (
        1,
        5,
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fixed", r"10 class scores a picture, shape \(2, 10\), got \(2, 7\) for 2 pictures of 1x8x8"),
        ("pair", "return one tensor of class scores, got a tuple of 2"),
        ("colour", "fails on pictures of 1x8x8: RuntimeError"),
        ("text", "return an nn.Module, got str"),
        ("broken", "fails: RuntimeError: no weights"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_a_model_nasc_cannot_use_is_refused_in_words(user, function, message):
    with pytest.raises(ModelError, match=message):
        load_model(f"{user}:{function}", num_classes=10, input_shape=(1, 8, 8))


def test_checking_a_model_leaves_its_state_and_modes_alone(user):
    from nasc.models import check_classifier

    model = load_model("resnet-tiny", num_classes=10, input_shape=(3, 32, 32))
    model.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    check_classifier(model, (3, 32, 32), 10, name="it")
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())

import pickle

import pytest
import torch
from safetensors.torch import save_file

from nasc.errors import ModelError
from nasc.models import load_model

SHAPE = (1, 8, 8)


def build(weights=None, spec="digits-cnn@0.25", classes=10):
    return load_model(spec, num_classes=classes, input_shape=SHAPE, weights=weights)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_come_back_from_a_file(tmp_path, suffix):
    model, path = build(), tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    loaded = build(path)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


class Runs:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, write):
    trap = tmp_path / "trap"
    write({"weight": Runs(trap)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="more than tensors, or is damaged"):
        build(tmp_path / "weights.pt")
    assert not trap.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(build(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="more than tensors"):
        build(tmp_path / "model.pt")


def test_weights_of_another_model_are_refused_with_the_names(tmp_path):
    torch.save(build(spec="mlp").state_dict(), tmp_path / "mlp.pt")
    with pytest.raises(ModelError, match=r"are missing \(0\.0\.weight, .*6 are unexpected \(classifier\.bias"):
        build(tmp_path / "mlp.pt")


def test_weights_of_another_width_are_refused_with_both_shapes(tmp_path):
    torch.save(build(spec="digits-cnn@0.5").state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ModelError, match=r"expected 0\.0\.weight of shape \(8, 1, 3, 3\), got \(16, 1, 3, 3\)"):
        build(tmp_path / "wide.pt")


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ModelError, match="found no file"):
        build(tmp_path / name)


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x01\x02nothing")
    with pytest.raises(ModelError, match=name):
        build(tmp_path / name)

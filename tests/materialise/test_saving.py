"""A saved model loads, runs and trains on without nasc, and nasc loads only what is whole and harmless."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nasc.errors import ModelError, RunError
from nasc.materialise import load_model, materialise, save_model

STRANGER = """
import sys
import torch


class NoNasc:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nasc", "timm", "torchvision", "transformers", "pickle5"):
            raise ImportError(name)


sys.meta_path.insert(0, NoNasc())
sys.path.insert(0, sys.argv[1])
from model import load

model = load().eval()
given = torch.load(sys.argv[2], weights_only=True)
before = model(given["x"])
leaves = torch.utils._pytree.tree_leaves(before)
assert all(torch.equal(a, b) for a, b in zip(leaves, given["y"], strict=True)), "other outputs"
model.train()
optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
losses = []
for _ in range(8):
    optimiser.zero_grad()
    torch.manual_seed(0)
    loss = sum(leaf.square().mean() for leaf in torch.utils._pytree.tree_leaves(model(given["x"])))
    loss.backward()
    optimiser.step()
    losses.append(float(loss.detach()))
assert losses[-1] < losses[0], losses
assert all(parameter.grad is not None for parameter in model.parameters())
assert "nasc" not in sys.modules
print("ran and trained")
"""


@pytest.fixture
def folder(residual, tmp_path):
    """A saved small residual network."""
    save_model(materialise(residual.network, residual.selection), tmp_path / "run")
    return tmp_path / "run"


def resign(folder: Path, name: str, content: bytes) -> None:
    """Change a file and its hash, as someone who wants to be believed would."""
    (folder / name).write_bytes(content)
    card = json.loads((folder / "model.json").read_text())
    card["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(card))


def test_a_saved_model_comes_back_equal_with_its_training_in_it(case, tmp_path):
    small = materialise(case.network, case.selection)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(0.01)
    save_model(small, tmp_path)
    again = load_model(tmp_path)
    x = case.inputs(3)
    leaves = torch.utils._pytree.tree_leaves
    assert all(torch.equal(a, b) for a, b in zip(leaves(again(x)), leaves(small.eval()(x)), strict=True))
    assert list(again.state_dict()) == list(small.state_dict())
    save_model(again, tmp_path / "twice")
    assert (tmp_path / "twice" / "model.py").read_bytes() == (tmp_path / "model.py").read_bytes()


@pytest.mark.parametrize("family", ["mobile", "tied encoder"])
def test_a_fresh_process_without_nasc_runs_and_trains_it(family, request, tmp_path):
    case = request.getfixturevalue({"mobile": "mobile", "tied encoder": "tied"}[family])
    small = materialise(case.network, case.selection).eval()
    save_model(small, tmp_path / "run")
    x = case.inputs(16)
    torch.save({"x": x, "y": torch.utils._pytree.tree_leaves(small(x))}, tmp_path / "given.pt")
    done = subprocess.run(
        [sys.executable, "-P", "-c", STRANGER, str(tmp_path / "run"), str(tmp_path / "given.pt")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ran and trained"


def test_the_files_hold_no_pickle_and_the_card_names_their_hashes(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.py", "model.safetensors"]
    card = json.loads((folder / "model.json").read_text())
    for name, digest in card["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert card["format"] == 1
    assert card["class_name"] == "ResidualNet"
    assert card["inputs"] == [{"name": "x", "shape": [2, 3, 8, 8], "dtype": "float32"}]


def test_two_saves_of_one_model_are_equal_to_the_byte(residual, tmp_path):
    for name in ("a", "b"):
        save_model(materialise(residual.network, residual.selection), tmp_path / name)
    for file in ("model.py", "model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_changed_file_is_not_run(folder, tmp_path):
    marker = tmp_path / "ran"
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(f"open({str(marker)!r}, 'w')\n" + text)
    with pytest.raises(ModelError, match="hash"):
        load_model(folder)
    assert not marker.exists()


def test_a_changed_file_with_a_new_hash_is_not_run_either(folder, tmp_path):
    marker = tmp_path / "ran"
    text = (folder / "model.py").read_text()
    resign(folder, "model.py", f"open({str(marker)!r}, 'w')\n{text}".encode())
    with pytest.raises(ModelError, match="only layers and operations"):
        load_model(folder)
    assert not marker.exists()


def test_changed_weights_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="hash"):
        load_model(folder)


def test_weights_of_another_shape_are_refused_in_words(folder):
    tensors = {name: torch.zeros(3) for name in load_file(folder / "model.safetensors")}
    save_file(tensors, folder / "other.safetensors")
    resign(folder, "model.safetensors", (folder / "other.safetensors").read_bytes())
    with pytest.raises(ModelError, match="to fit"):
        load_model(folder)


def test_a_missing_weight_is_refused_in_words(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("fc.bias")
    save_file(tensors, folder / "other.safetensors")
    resign(folder, "model.safetensors", (folder / "other.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"fc\.bias"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.py", "model.safetensors", "model.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "\xff"])
def test_a_broken_card_is_one_sentence(folder, content):
    (folder / "model.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError, match="save_model wrote"):
        load_model(folder)


def test_a_newer_format_asks_for_a_newer_nasc(folder):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "format": 2}))
    with pytest.raises(ModelError, match="got 2") as caught:
        load_model(folder)
    assert "newer nasc" in caught.value.hint


def test_a_module_of_the_users_own_is_refused_with_the_way_to_do_it(tmp_path):
    with pytest.raises(ModelError, match="Linear") as caught:
        save_model(nn.Linear(2, 2), tmp_path)
    assert "materialise" in caught.value.hint


def test_a_folder_that_is_a_file_is_refused(residual, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can be written"):
        save_model(materialise(residual.network, residual.selection), tmp_path / "file")


def test_a_failed_write_leaves_the_earlier_model_whole(residual, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        save_model(materialise(residual.network, residual.selection), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_written_file_says_what_it_needs(folder):
    text = (folder / "model.py").read_text()
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert (
        imports
        == textwrap.dedent(
            """\
        from pathlib import Path
        import torch
        import torch.nn.functional as F
        from safetensors.torch import load_file
        from torch import Tensor, nn
        """
        ).splitlines()
    )

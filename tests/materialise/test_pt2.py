"""Archives that would run code under ``torch.export.load`` are refused, and nothing of theirs runs."""

import contextlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from nasc.errors import ModelError
from nasc.materialise import load_pt2, save_pt2

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
SAMPLES = "data/sample_inputs/model.pt"


class Touch:
    """Unpickled, it makes a file: what a stranger's code could do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


class Net(nn.Module):
    """A convolution, a norm, a reshape that needs the batch size, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(x.view(x.size(0), -1)) * torch.tensor(2.0)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """An archive that save_pt2 wrote."""
    torch.manual_seed(0)
    return save_pt2(Net(), (torch.randn(1, 3, 8, 8),), tmp_path_factory.mktemp("good") / "model.pt2")


@pytest.fixture
def marker(tmp_path):
    """The file that hostile code would make."""
    return tmp_path / "code-ran"


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, entries: dict[str, bytes]) -> Path:
    """An archive as torch itself would write it."""
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.set_min_version(6)
    for name, content in entries.items():
        if not name.startswith(".data") and name != "byteorder":
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return path


def changed(good: Path, path: Path, name: str, change) -> Path:
    """The good archive with one JSON entry changed."""
    entries = entries_of(good)
    value = json.loads(entries[name])
    change(value)
    return write(path, {**entries, name: json.dumps(value).encode()})


def graph_of(program):
    return program["graph_module"]["graph"]


def test_what_was_saved_comes_back_equal_at_any_batch_size(good):
    torch.manual_seed(0)
    model = Net().eval()
    loaded = load_pt2(good).module()
    for batch in (1, 5):
        x = torch.randn(batch, 3, 8, 8)
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)


def test_saving_leaves_the_mode_and_names_no_file_of_this_machine(tmp_path):
    model = Net().train()
    path = save_pt2(model, (torch.randn(2, 3, 8, 8),), tmp_path / "model.pt2")
    assert model.training
    assert b"site-packages" not in path.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt2"]


def test_a_model_of_a_fixed_batch_size_is_saved_with_it(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            return x.view(3, 4) + torch.ones(3, 4)

    loaded = load_pt2(save_pt2(Fixed(), (torch.zeros(3, 2, 2),), tmp_path / "model.pt2")).module()
    assert torch.equal(loaded(torch.zeros(3, 2, 2)), torch.ones(3, 4))


def test_a_model_that_cannot_be_exported_is_one_sentence(tmp_path):
    class Undecided(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(ModelError, match="Undecided"):
        save_pt2(Undecided(), (torch.randn(2, 2),), tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


# --- archives that run code under torch.export.load, and proof that they do there


def pickled_samples(good: Path, path: Path, marker: Path) -> Path:
    buffer = io.BytesIO()
    torch.save(((Touch(marker),), {}), buffer)
    return write(path, {**entries_of(good), SAMPLES: buffer.getvalue()})


def pickled_weight(good: Path, path: Path, marker: Path) -> Path:
    buffer = io.BytesIO()
    torch.save(Touch(marker), buffer)
    entries = entries_of(good)
    config = json.loads(entries[WEIGHTS])
    payload = config["config"]["conv.weight"]
    payload["use_pickle"] = True
    entries[f"data/weights/{payload['path_name']}"] = buffer.getvalue()
    return write(path, {**entries, WEIGHTS: json.dumps(config).encode()})


def opaque_constant(good: Path, path: Path, marker: Path) -> Path:
    name = "data/constants/model_constants_config.json"
    entries = entries_of(good)
    config = json.loads(entries[name])
    config["config"]["extra"] = {
        "path_name": "opaque_obj_0",
        "is_param": False,
        "use_pickle": True,
        "tensor_meta": None,
    }
    entries |= {name: json.dumps(config).encode(), "data/constants/opaque_obj_0": pickle.dumps(Touch(marker))}
    return write(path, entries)


def evaluated_size(good: Path, path: Path, marker: Path) -> Path:
    def change(program):
        value = next(iter(value for value in graph_of(program)["tensor_values"].values() if "as_expr" in str(value)))
        size = next(size for size in value["sizes"] if "as_expr" in size)
        size["as_expr"]["expr_str"] = f"__import__('pathlib').Path({str(marker)!r}).touch() or 2"

    return changed(good, path, PROGRAM, change)


def imported_enum(good: Path, path: Path, marker: Path) -> Path:
    folder = path.parent
    (folder / "hostile_module.py").write_text(f"open({str(marker)!r}, 'w')\nclass A:\n    pass\n")

    def change(program):
        call = program["graph_module"]["module_call_graph"][0]["signature"]
        spec = json.loads(call["in_spec"])
        spec[1]["children_spec"][1]["context"] = json.dumps(
            [{"__enum__": True, "fqn": "hostile_module:A", "name": "x"}]
        )
        call["in_spec"] = json.dumps(spec)

    return changed(good, path, PROGRAM, change)


def code_as_input_name(good: Path, path: Path, marker: Path) -> Path:
    entries = entries_of(good)
    hostile = f"x=__import__('pathlib').Path({str(marker)!r}).touch()"
    program = entries[PROGRAM].decode()
    for key in ('"name": ', '"as_name": '):
        program = program.replace(f'{key}"x"', f"{key}{json.dumps(hostile)}")
    program = program.replace('"x": {"dtype"', f'{json.dumps(hostile)}: {{"dtype"')
    return write(path, {**entries, PROGRAM: program.encode()})


def code_as_condition(good: Path, path: Path, marker: Path) -> Path:
    def change(program):
        program["guards_code"] = [f"__import__('pathlib').Path({str(marker)!r}).touch() is None"]

    return changed(good, path, PROGRAM, change)


def code_in_a_conditions_message(good: Path, path: Path, marker: Path) -> Path:
    hostile = f"""L['x'].size()[0] != '", __import__("pathlib").Path("{marker}").touch()) #'"""

    def change(program):
        program["guards_code"] = [hostile]

    return changed(good, path, PROGRAM, change)


ATTACKS = {
    code_as_condition: "a condition is",
    code_in_a_conditions_message: "a condition is",
    pickled_samples: "sample inputs",
    pickled_weight: "stored as a pickle",
    opaque_constant: "opaque_obj_0",
    evaluated_size: "a size is",
    imported_enum: "not names",
    code_as_input_name: "a name",
}


@pytest.mark.parametrize(("attack", "words"), ATTACKS.items())
def test_an_archive_that_runs_code_is_refused_and_does_not_run(attack, words, good, tmp_path, marker, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = attack(good, tmp_path / "hostile.pt2", marker)
    with pytest.raises(ModelError, match=words) as caught:
        load_pt2(path)
    assert not marker.exists()
    assert "run code" in caught.value.hint


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.filterwarnings("ignore")
def test_without_the_guard_the_same_archive_does_run_code(attack, good, tmp_path, marker, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = attack(good, tmp_path / "hostile.pt2", marker)
    with contextlib.suppress(Exception):  # what comes after the code ran does not matter
        torch.export.load(path).module()(torch.randn(2, 3, 8, 8))
    assert marker.exists()


# --- what no ordinary model contains


def targets(program, target):
    graph_of(program)["nodes"][0]["target"] = target


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.ops.higher_order.cond",
        "torch.ops.quantized.add.default",
        "torch.ops.aten.relu.default.__call__",
        "_operator.methodcaller",
        "math.floor",
        "#extension:op",
    ],
)
def test_operators_outside_torchs_own_library_are_refused(target, good, tmp_path):
    path = changed(good, tmp_path / "a.pt2", PROGRAM, lambda program: targets(program, target))
    with pytest.raises(ModelError, match="an operator is"):
        load_pt2(path)


@pytest.mark.parametrize("operator", ["save.default", "from_file.default", "warn.default"])
def test_operators_that_take_file_names_are_refused(operator, good, tmp_path):
    def change(program):
        targets(program, f"torch.ops.aten.{operator}")
        graph_of(program)["nodes"][0]["inputs"] = [{"name": "filename", "arg": {"as_string": "x"}, "kind": 1}]

    with pytest.raises(ModelError, match="given a text"):
        load_pt2(changed(good, tmp_path / "a.pt2", PROGRAM, change))


@pytest.mark.parametrize(
    "expression",
    ["9**9**9**9", "Symbol('a b')", "s0.free_symbols", "[1]", "lambda: 1", "oo", "Pow(2, 3)", "(" * 300, "1" * 2000],
)
def test_sizes_that_are_not_plain_arithmetic_are_refused(expression, good, tmp_path):
    def change(program):
        graph_of(program)["tensor_values"]["x"]["sizes"][0] = {
            "as_expr": {"expr_str": expression, "hint": {"as_int": 2}}
        }

    with pytest.raises(ModelError, match="a size is"):
        load_pt2(changed(good, tmp_path / "a.pt2", PROGRAM, change))


def test_a_tensor_that_claims_more_than_it_has_is_refused(good, tmp_path):
    entries = entries_of(good)
    name = json.loads(entries[WEIGHTS])["config"]["conv.weight"]["path_name"]
    path = write(tmp_path / "a.pt2", {**entries, f"data/weights/{name}": b""})
    with pytest.raises(ModelError, match="claims 108 entries"):
        load_pt2(path)


@pytest.mark.parametrize(
    "name", ["extra/notes.txt", "data/aotinductor/model/a.so", "models/other.json", "data/weights/model.pt"]
)
def test_unknown_entries_are_refused(name, good, tmp_path):
    with pytest.raises(ModelError, match="unknown"):
        load_pt2(write(tmp_path / "a.pt2", {**entries_of(good), name: b"{}"}))


def rezip(good: Path, path: Path, added: str, **options) -> Path:
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w", **options) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
        root = source.namelist()[0].partition("/")[0]
        if added:
            archive.writestr(added.replace("ROOT", root), b"x")
    return path


@pytest.mark.parametrize("added", ["ROOT/../../x", "../x", "/etc/x", "other/archive_format", "ROOT\\x"])
def test_names_that_lead_elsewhere_are_refused(added, good, tmp_path):
    with pytest.raises(ModelError, match=r"outside its folder|unknown"):
        load_pt2(rezip(good, tmp_path / "a.pt2", added))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(good, tmp_path):
    with pytest.raises(ModelError, match="twice"):
        load_pt2(rezip(good, tmp_path / "a.pt2", "ROOT/models/model.json"))


def test_compressed_archives_are_refused_before_they_unfold(good, tmp_path):
    with pytest.raises(ModelError, match="compressed"):
        load_pt2(rezip(good, tmp_path / "a.pt2", "", compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, SAMPLES])
def test_a_missing_entry_is_named(name, good, tmp_path):
    entries = entries_of(good)
    entries.pop(name)
    with pytest.raises(ModelError, match=name):
        load_pt2(write(tmp_path / "a.pt2", entries))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04"])
def test_a_broken_file_is_one_sentence(content, tmp_path):
    (tmp_path / "a.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"\.pt2 archive"):
        load_pt2(tmp_path / "a.pt2")


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="not a file"):
        load_pt2(tmp_path / "none.pt2")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"graph_module": 3}'])
def test_a_broken_program_is_one_sentence(content, good, tmp_path):
    with pytest.raises(ModelError):
        load_pt2(write(tmp_path / "a.pt2", {**entries_of(good), PROGRAM: content}))


def test_what_torch_cannot_read_is_one_sentence(good, tmp_path):
    def change(program):
        del graph_of(program)["tensor_values"]["x"]

    with pytest.raises(ModelError, match="torch 2"):
        load_pt2(changed(good, tmp_path / "a.pt2", PROGRAM, change))

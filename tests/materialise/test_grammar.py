"""What nasc writes passes; what it would never write is refused, whatever it does."""

import ast

import pytest

from nasc.errors import ModelError
from nasc.materialise import materialise
from nasc.materialise.generated import source_of
from nasc.materialise.grammar import check_source


@pytest.fixture
def text(mobile):
    return source_of(materialise(mobile.network, mobile.selection)).text


def with_line(text: str, line: str, method: str = "forward") -> str:
    """The text with one more line at the start of a method."""
    lines = text.splitlines()
    start = next(index for index, found in enumerate(lines) if found.startswith(f"    def {method}("))
    start += method == "__init__"  # super().__init__() comes first
    return "\n".join([*lines[: start + 1], f"        {line}", *lines[start + 1 :]]) + "\n"


def test_what_nasc_writes_passes(case):
    check_source(source_of(materialise(case.network, case.selection)).text, "model.py")


HOSTILE_LINES = [
    "__import__('os').system('true')",
    "import os",
    "open('x', 'w')",
    "exec('1')",
    "eval('1')",
    "torch.load('x')",
    "torch.save(x, 'x')",
    "torch.hub.load('a', 'b')",
    "torch.os.system('true')",
    "torch.ops.load_library('x.so')",
    "torch.ops.aten.save.default(x, 'x')",
    "torch.ops.aten.from_file.default('x', True, 1)",
    "torch.ops.quantized.add(x, x)",
    "torch.utils.cpp_extension.load('a', 'b')",
    "nn.Module.__init__.__globals__",
    "x.__class__.__mro__",
    "x.numpy().tofile('x')",
    "y = x.numpy; y()",
    "y = x.numpy()",
    "getattr(x, 'numpy')()",
    "getattr(self, '__class__')()",
    "getattr(self, input)",
    "self.features.register_forward_hook(F.relu)",
    "self.load_state_dict(x)",
    "self.forward = F.relu",
    "torch.cat = F.relu",
    "F = nn",
    "F.relu.__globals__",
    "F.torch.load('x')",
    "lambda: 0",
    "[y for y in x]",
    "f'{x}'",
    "while True: pass",
    "x if x else x",
    "yield x",
    "del x",
    "global x",
    "assert x",
    "load()",
    "load_file('x')",
    "Path('x').unlink()",
    "Tensor(1)",
    "(x := 1)",
    "print(x)",
    "super().__reduce__()",
    "nn.Sequential(x)",
    "nn.modules.module.warnings.warn('x')",
]


@pytest.mark.parametrize("line", HOSTILE_LINES)
@pytest.mark.parametrize("method", ["forward", "__init__"])
def test_a_line_that_nasc_never_writes_is_refused(text, line, method):
    changed = with_line(text, line, method)
    ast.parse(changed)
    with pytest.raises(ModelError):
        check_source(changed, "model.py")


HOSTILE_CHANGES = [
    ("import torch\n", "import torch\nimport os\n"),
    ("import torch\n", "import torch, os\n"),
    ("from torch import Tensor, nn\n", "from torch import Tensor, nn, hub\n"),
    ("from torch import Tensor, nn\n", "from torch import Tensor, nn\nprint(1)\n"),
    ("from torch import Tensor, nn\n", "from torch import Tensor, nn\nnn = torch\n"),
    ("class MobileNet(nn.Module):", "@print\nclass MobileNet(nn.Module):"),
    ("class MobileNet(nn.Module):", "class MobileNet(nn.Module, metaclass=print):"),
    ("class MobileNet(nn.Module):", "class MobileNet(print('x')):"),
    ("class MobileNet(nn.Module):", "class Other:\n    print(1)\n\n\nclass MobileNet(nn.Module):"),
    ("    def forward(self, x: Tensor) -> Tensor:", "    def forward(self, x: Tensor = print(1)) -> Tensor:"),
    ("    def forward(self, x: Tensor) -> Tensor:", "    def forward(self, x: print(1)) -> Tensor:"),
    ("    def forward(self, x: Tensor) -> Tensor:", "    def forward(self, x: Tensor) -> print(1):"),
    ("    def forward(self, x: Tensor) -> Tensor:", "    @print\n    def forward(self, x: Tensor) -> Tensor:"),
    ("    def forward(self, x: Tensor) -> Tensor:", "    def forward(self, *x: print(1)) -> Tensor:"),
    ("    def forward(self, x: Tensor) -> Tensor:", "    async def forward(self, x: Tensor) -> Tensor:"),
    (
        "    def forward(self, x: Tensor) -> Tensor:",
        "    def __del__(self) -> None:\n        return\n\n    def forward(self, x: Tensor) -> Tensor:",
    ),
    ("setattr(self, name, member)", "setattr(self, name, print(member))"),
    ("tensor.copy_(tensors[name])", "print(tensors[name])"),
    ('with_name("model.safetensors")', 'with_name("other")'),
]


@pytest.mark.parametrize(("old", "new"), HOSTILE_CHANGES)
def test_a_change_of_the_frame_is_refused(text, old, new):
    assert old in text
    changed = text.replace(old, new)
    ast.parse(changed)
    with pytest.raises(ModelError):
        check_source(changed, "model.py")


@pytest.mark.parametrize("broken", ["def", "\0", "(" * 5000])
def test_what_is_not_python_is_refused_in_words(broken):
    with pytest.raises(ModelError, match=r"expected Python in model\.py"):
        check_source(broken, "model.py")


def test_the_line_is_named(text):
    with pytest.raises(ModelError, match=r"line \d+ has .*open"):
        check_source(with_line(text, "open('x')"), "model.py")

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
import torch

from nasc.graph import Network, trace
from nasc.graph.picture import block_of, draw_html, draw_svg
from nasc.testing.architectures import ARCHITECTURES, build

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", params=["residual", "patch transformer", "two inputs"])
def network(request: pytest.FixtureRequest) -> Network:
    return trace(*build(request.param))


def test_every_dim_a_kernel_touches_is_a_line_with_its_name_and_size(network: Network) -> None:
    root = ElementTree.fromstring(draw_svg(network))
    lines = [group for group in root.iter(f"{SVG}g") if "dim" in group.get("class", "").split()]
    told = {str(group.findtext(f"{SVG}title")).splitlines()[0] for group in lines}
    kernels = [kernel for kernel in network.kernels if kernel.kind != "free"]
    touched = {dim.name for kernel in kernels for axis in kernel.sizes.values() for dim in axis.dims()}
    assert told == {f"{name}: {network.dims[name].size}" for name in touched & set(network.dims)}


def test_a_line_stops_at_every_kernel_of_its_dim(network: Network) -> None:
    root = ElementTree.fromstring(draw_svg(network))
    kernels = [kernel for kernel in network.kernels if kernel.kind != "free"]
    for group in root.iter(f"{SVG}g"):
        if "dim" not in group.get("class", "").split():
            continue
        name = ":".join(str(group.findtext(f"{SVG}title")).splitlines()[0].split(":")[:-1])
        touching = [k for k in kernels if any(name == dim.name for axis in k.sizes.values() for dim in axis.dims())]
        arms = [path for path in group.iter(f"{SVG}path") if "H" in str(path.get("d"))]
        assert len(arms) == len(touching), name


def test_lines_of_one_lane_do_not_overlap(network: Network) -> None:
    root = ElementTree.fromstring(draw_svg(network))
    spans: dict[str, list[tuple[float, float]]] = {}
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "line":
            place, _, rest = str(path.get("d"))[1:].partition(" ")
            top, _, bottom = rest.partition("V")
            spans.setdefault(place, []).append((float(top), float(bottom)))
    for lane in spans.values():
        ordered = sorted(lane)
        assert all(first[1] < second[0] for first, second in pairwise(ordered))


def test_frozen_dims_are_marked_and_say_what_to_do(network: Network) -> None:
    root = ElementTree.fromstring(draw_svg(network))
    frozen = [group for group in root.iter(f"{SVG}g") if "frozen" in group.get("class", "").split()]
    assert frozen
    assert all("frozen:" in str(group.findtext(f"{SVG}title")) for group in frozen)


def test_names_that_look_like_markup_are_shown_as_text() -> None:
    network = trace(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)), (torch.zeros(1, 3),))
    page = draw_html(network, "<script>alert(1)</script>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_structure_can_be_drawn(name: str) -> None:
    network = trace(*build(name))
    ElementTree.fromstring(draw_svg(network))


def test_blocks_end_at_the_number_of_a_repeated_module() -> None:
    assert block_of("layer1.0.conv1") == "layer1.0"
    assert block_of("features.3.0.1.weight") == "features.3.0"
    assert block_of("head") == ""

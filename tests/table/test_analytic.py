"""The roofline: closed forms, torch's own counts, and that it never passes for a measurement."""

import pytest
import torch

from nasc.cost import cost, price_latency
from nasc.devices import load_descriptors
from nasc.errors import TableError
from nasc.graph import trace
from nasc.kernels import signature
from nasc.models import load_model
from nasc.table.analytic import AnalyticTable, Figures, analytic_table, count_work

FIGURES = Figures(macs_per_s=1e9, bytes_per_s=4e9, launch_s=1e-6, source="test")
TABLE = AnalyticTable(FIGURES, "test")
LINEAR = signature("linear", rows=1)


def test_a_matrix_vector_product_is_bound_by_its_bytes_and_a_matrix_product_by_its_multiply_adds():
    sizes = {"c_in": 1000, "c_out": 1000}
    assert TABLE.seconds(LINEAR, sizes) == pytest.approx(1e-6 + 4 * (1e6 + 2000) / 4e9)
    many = signature("linear", rows=1000)
    assert TABLE.seconds(many, sizes) == pytest.approx(1e-6 + 1e9 / 1e9)


@pytest.mark.parametrize("model", ["digits-cnn", "resnet-tiny", "mobilenetv3-tiny", "vgg-tiny", "densenet-tiny"])
def test_the_multiply_adds_of_every_kernel_are_those_of_the_graph(model):
    shape = (1, 8, 8) if model == "digits-cnn" else (3, 32, 32)
    network = trace(load_model(model, num_classes=10, input_shape=shape).eval(), (torch.randn(1, *shape),))
    for kernel in network.kernels:
        if kernel.kind != "free" and kernel.macs_per:
            assert count_work(kernel.signature, dict(kernel.shape().sizes)).macs == kernel.macs(), kernel
    price = price_latency(network, {}, TABLE)
    assert not price.uncovered
    assert price.total_s >= cost(network, {}, "macs") / FIGURES.macs_per_s


def test_its_slope_is_the_gradient_of_tensor_sizes():
    c_out = torch.tensor(64.0, requires_grad=True)
    seconds = TABLE.seconds(signature("linear", rows=512), {"c_in": 32, "c_out": c_out})
    seconds.backward()
    assert c_out.grad.item() == pytest.approx(512 * 32 / 1e9)


def test_nothing_costs_nothing():
    assert TABLE.seconds(LINEAR, {"c_in": 0, "c_out": 5}) == 0
    assert TABLE.seconds(signature("free", op="reshape"), {}) == 0


def test_every_shipped_phone_has_figures_and_a_device_without_says_so():
    descriptors = load_descriptors()
    phones = [analytic_table(one) for name, one in descriptors.items() if name.startswith("pixel")]
    assert len(phones) == 6
    assert all(phone.origin == "analytic" and phone.figures.source for phone in phones)
    with pytest.raises(TableError, match="public figures"):
        analytic_table(descriptors["cpu"])

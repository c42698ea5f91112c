from pathlib import Path

import pytest

from nasc.artifact import Artifact
from nasc.devices import SimulatedDevice, Visit
from nasc.devices.simulated import read_operators
from nasc.errors import DeviceError, RunnerError
from nasc.exporters.litert import write_kernel
from nasc.kernels import KernelShape, signature


def artifact_of(folder: Path, shape: KernelShape) -> Artifact:
    path = folder / "kernel.tflite"
    path.write_bytes(write_kernel(shape))
    return Artifact(path, "litert", (), ())


def conv(side: int, kernel: int, stride: int = 1, **sizes: int) -> KernelShape:
    pads = {f"pad_{edge}": kernel // 2 for edge in ("top", "bottom", "left", "right")}
    window = {"height": side, "width": side, "kernel_h": kernel, "kernel_w": kernel}
    steps = {"stride_h": stride, "stride_w": stride, "dilation_h": 1, "dilation_w": 1}
    return signature("conv", **window, **steps, **pads).at(**sizes)


DEVICE = SimulatedDevice(tile=8, launch_s=1e-6, multiply_add_s=1e-9, element_s=1e-8)


def seconds(folder: Path, shape: KernelShape) -> float:
    session = DEVICE.run_session([artifact_of(folder, shape)], [Visit(0, runs=2)])
    first, second = session.visits[0].samples_s
    assert first == second
    return first


def test_a_convolution_costs_whole_tiles_of_positions_and_outputs(tmp_path: Path) -> None:
    # 5 x 5 = 25 positions are 4 tiles of 8, 9 outputs are 2; 3 x 3 x 4 multiply-adds each
    assert seconds(tmp_path, conv(5, 3, c_in=4, c_out=9)) == pytest.approx(1e-6 + 1e-9 * 32 * 16 * 36)


def test_nine_outputs_cost_as_much_as_sixteen_and_more_than_eight(tmp_path: Path) -> None:
    eight, nine, sixteen = (seconds(tmp_path, conv(8, 1, c_in=4, c_out=outputs)) for outputs in (8, 9, 16))
    assert eight < nine == sixteen


def test_padding_in_front_of_a_convolution_is_free(tmp_path: Path) -> None:
    shape = conv(8, 3, stride=2, c_in=4, c_out=8)  # symmetric padding with stride 2 needs a PAD of its own
    names = [operator.name for operator in read_operators(artifact_of(tmp_path, shape).path)]
    assert names == ["PAD", "CONV_2D"]
    assert seconds(tmp_path, shape) == pytest.approx(1e-6 + 1e-9 * 16 * 8 * 36)


def test_a_depthwise_convolution_is_linear_in_whole_tiles_of_channels(tmp_path: Path) -> None:
    attributes = dict(conv(4, 3, c_in=1, c_out=1).signature.attributes)
    shape = signature("depthwise", **attributes, multiplier=1).at(channels=20)
    assert seconds(tmp_path, shape) == pytest.approx(1e-6 + 1e-9 * 16 * 24 * 9)


def test_an_element_wise_kernel_is_linear_in_its_elements(tmp_path: Path) -> None:
    shape = signature("unary", op="hard_swish", positions=9).at(channels=5)
    assert seconds(tmp_path, shape) == pytest.approx(1e-6 + 1e-8 * 45)


def test_noise_only_ever_adds_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path, conv(8, 1, c_in=4, c_out=8))
    exact = DEVICE.run_session([artifact], [Visit(0, runs=1)]).visits[0].samples_s[0]
    noisy = [SimulatedDevice(tile=8, multiply_add_s=1e-9, element_s=1e-8, noise=0.5, seed=3) for _ in range(2)]
    first, again = (device.run_session([artifact], [Visit(0, runs=20)]).visits[0].samples_s for device in noisy)
    assert first == again
    assert noisy[0].run_session([artifact], [Visit(0, runs=20)]).visits[0].samples_s != first
    assert min(first) >= exact
    assert max(first) > 1.1 * exact


def test_its_times_say_that_they_are_simulated() -> None:
    assert DEVICE.origin == "simulated"


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="reads litert files"):
        DEVICE.run_session([Artifact(tmp_path / "model.onnx", "onnx", (), ())], [Visit(0, runs=1)])


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"not a model at all")
    with pytest.raises(RunnerError, match="expected a LiteRT model"):
        DEVICE.run_session([Artifact(path, "litert", (), ())], [Visit(0, runs=1)])

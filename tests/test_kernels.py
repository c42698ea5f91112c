import pytest

from nasc.kernels import KINDS, signature


def test_attributes_are_put_into_the_order_of_the_kind() -> None:
    one = signature("unary", positions=49, op="relu")
    other = signature("unary", op="relu", positions=49)
    assert one == other
    assert hash(one) == hash(other)
    assert str(one) == "unary[op=relu positions=49]"


def test_a_shape_knows_its_attributes_and_sizes() -> None:
    shape = signature("linear", rows=3).at(c_out=10, c_in=64)
    assert (shape["c_in"], shape["c_out"], shape.signature["rows"]) == (64, 10, 3)
    assert str(shape) == "linear[rows=3](c_in=64 c_out=10)"
    with pytest.raises(KeyError):
        shape["rows"]


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("unary", {"op": "relu"}),
        ("unary", {"op": "relu", "positions": 1, "height": 3}),
        ("convolve", {}),
    ],
)
def test_a_wrong_signature_is_refused_by_name(kind: str, attributes: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match=r"takes the attributes|unknown kind .convolve."):
        signature(kind, **attributes)


def test_no_kind_has_a_size_and_an_attribute_of_one_name() -> None:
    assert all(not set(kind.sizes) & set(kind.attributes) for kind in KINDS.values())

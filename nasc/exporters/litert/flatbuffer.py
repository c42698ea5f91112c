"""A LiteRT model file under construction: tensors, constants and operators, packed into a flatbuffer at the end.

The schema is the one ai-edge-litert carries, so the file and the runtime that reads it are always of one version.
Nothing here knows about networks or kernels; :mod:`nasc.exporters.litert.emitters` does.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

FILE_IDENTIFIER = b"TFL3"
DATA_ALIGNMENT = 16  # force_align of Buffer.data in the schema
_LAST_DEPRECATED_CODE = 127  # operators above it do not fit the schema's first, one-byte field

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the schema is untyped
    """A constant whose bytes start at a multiple of 16 in the file, which the generated packer does not see to."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the schema's name
        data = self.data.tobytes()
        builder.StartVector(1, len(data), DATA_ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        offset = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, offset)
        return int(schema.BufferEnd(builder))


class ModelBuilder:
    """Collects the tensors and operators of one graph; a tensor is named by the index that adding it returned."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is the empty one, of every activation
        self._operators: list[Any] = []
        self._codes: list[int] = []
        self._shapes: list[tuple[int, ...]] = []

    def activation(self, shape: Sequence[int], name: str = "", dtype: str = "float32") -> int:
        """Add a tensor that an operator writes or the user feeds.

        Args:
            shape: In the file's layout.
            name: Shown by LiteRT's tools; the index where empty.
            dtype: ``"float32"``, ``"int32"`` or ``"bool"``.

        Returns:
            Index of the tensor.
        """
        return self._tensor(tuple(shape), _TYPES[np.dtype(dtype)], 0, name)

    def constant(self, values: NDArray[Any], name: str = "") -> int:
        """Add a constant, float32 or int32.

        Args:
            values: Stored as they are, C-contiguous.
            name: As of :meth:`activation`.

        Returns:
            Index of the tensor.
        """
        buffer = _AlignedBuffer()
        buffer.data = np.ascontiguousarray(values)
        self._buffers.append(buffer)
        return self._tensor(values.shape, _TYPES[values.dtype], len(self._buffers) - 1, name)

    def dtype(self, tensor: int) -> str:
        """Number format of a tensor that was added."""
        return next(kind.name for kind, number in _TYPES.items() if number == self._tensors[tensor].type)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor that was added."""
        return self._shapes[tensor]

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        name: str = "",
        options: str = "",
        dtype: str = "float32",
        **values: Any,
    ) -> int:
        """Append an operator with one output.

        Args:
            code: Name in the schema's BuiltinOperator, e.g. ``"CONV_2D"``.
            inputs: Indices of what it reads, in the operator's order.
            shape: Shape of its output.
            name: Name of its output.
            options: Name of its options table, e.g. ``"Conv2DOptions"``; empty where it has none.
            dtype: Number format of its output.
            **values: Fields of the options table.

        Returns:
            Index of the output.
        """
        output = self.activation(shape, name, dtype)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, code))
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray([output], np.int32)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, options + "T")(**values)
        self._operators.append(operator)
        return output

    def finish(self, inputs: Sequence[int], outputs: Sequence[int], description: str = "nasc") -> bytes:
        """The file's bytes.

        Args:
            inputs: Indices of the tensors the user feeds, in order.
            outputs: Indices of the tensors the user reads, in order.
            description: Stored in the file.
        """
        graph = schema.SubGraphT(
            name=b"main",
            tensors=self._tensors,
            operators=self._operators,
            inputs=np.asarray(inputs, np.int32),
            outputs=np.asarray(outputs, np.int32),
        )
        model = schema.ModelT(
            version=3,
            description=description.encode(),
            operatorCodes=[_operator_code(code) for code in self._codes],
            buffers=self._buffers,
            subgraphs=[graph],
            signatureDefs=[_signature(inputs, outputs)],
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, shape: tuple[int, ...], kind: int, buffer: int, name: str) -> int:
        index = len(self._tensors)
        tensor = schema.TensorT(
            shape=np.asarray(shape, np.int32),
            type=kind,
            buffer=buffer,
            name=(name or f"t{index}").encode(),
            hasRank=True,
        )
        self._tensors.append(tensor)
        self._shapes.append(shape)
        return index

    def _code(self, builtin: int) -> int:
        if builtin not in self._codes:
            self._codes.append(builtin)
        return self._codes.index(builtin)


def _operator_code(builtin: int) -> Any:
    return schema.OperatorCodeT(
        builtinCode=builtin, deprecatedBuiltinCode=min(builtin, _LAST_DEPRECATED_CODE), version=1
    )


def _signature(inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    def mapping(prefix: str, tensors: Sequence[int]) -> list[Any]:
        return [schema.TensorMapT(name=f"{prefix}{i}".encode(), tensorIndex=tensor) for i, tensor in enumerate(tensors)]

    return schema.SignatureDefT(
        signatureKey=b"serving_default", subgraphIndex=0, inputs=mapping("x", inputs), outputs=mapping("y", outputs)
    )

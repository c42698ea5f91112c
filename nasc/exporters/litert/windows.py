"""Windows that slide over an image: how many there are, and which padding they really read."""

from dataclasses import dataclass

from nasc.kernels import Signature


@dataclass(frozen=True)
class Side:
    """Windows along one side of an image.

    Args:
        size: Entries of the input.
        window: Entries a window spans, dilation included.
        stride: Entries between the starts of neighbours.
        before: Padding in front.
        after: Padding at the end.
    """

    size: int
    window: int
    stride: int
    before: int
    after: int

    @property
    def count(self) -> int:
        """Number of windows."""
        return (self.size + self.before + self.after - self.window) // self.stride + 1

    @property
    def read_padding(self) -> tuple[int, int]:
        """Padding in front and at the end that some window reads; a stride may leave the last entries unread."""
        end = (self.count - 1) * self.stride + self.window
        return self.before, max(end - self.size - self.before, 0)

    @property
    def is_same(self) -> bool:
        """LiteRT's SAME padding gives these windows: one a stride, half of the padding in front, the odd one at the end.

        >>> Side(size=7, window=3, stride=2, before=1, after=1).is_same
        True
        >>> Side(size=8, window=3, stride=2, before=1, after=1).is_same  # SAME would pad at the end only
        False
        """
        count = -(-self.size // self.stride)
        total = max((count - 1) * self.stride + self.window - self.size, 0)
        return self.count == count and self.before == total // 2

    @property
    def grown(self) -> int:
        """Entries a transposed convolution writes before its edges are cut."""
        return (self.size - 1) * self.stride + self.window

    @property
    def grows_as_same(self) -> bool:
        """LiteRT's SAME transposed convolution cuts these edges: one stride an entry is left, the odd cut at the end."""
        total = self.window - self.stride
        return (self.before, self.after) == (total // 2, total - total // 2)


def sides(signature: Signature) -> tuple[Side, Side]:
    """The windows of a convolution or pool, down and to the right."""
    return (_side(signature, "height", "h", "top", "bottom"), _side(signature, "width", "w", "left", "right"))


def _side(signature: Signature, size: str, suffix: str, first: str, last: str) -> Side:
    of = dict(signature.attributes)
    dilation = int(of.get(f"dilation_{suffix}", 1))
    window = (int(of[f"kernel_{suffix}"]) - 1) * dilation + 1
    return Side(int(of[size]), window, int(of[f"stride_{suffix}"]), int(of[f"pad_{first}"]), int(of[f"pad_{last}"]))

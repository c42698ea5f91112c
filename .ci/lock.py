"""Write the lock files from the environment that runs this: `make lock`, after trying out new versions.

``requirements.lock`` holds what nasc needs to run, ``requirements-dev.lock`` what tests, checks and docs need besides;
both name every package that those need in turn, at the versions installed here.
"""

import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("hatchling", "editables")  # so that the project itself is installed without looking elsewhere
WITHOUT = {"nasc", "pip", "torchvision", "timm"}  # the Makefile installs the last two without their dependencies


def closure(requirements: Iterable[str], known: set[str] | None = None) -> dict[str, str]:
    """Version by name of everything that some requirements bring, without what is known already."""
    found: dict[str, str] = {}
    waiting = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        distribution = metadata.distribution(name)
        if name not in WITHOUT and name not in (known or set()):
            found[name] = distribution.version.partition("+")[0]
        for wanted in ("", *sorted(requirement.extras)):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(text), wanted) for text in distribution.requires or ()]
    return found


def main() -> None:
    """Write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    runtime = closure([*project["project"]["dependencies"], *extras["onnx"], *BUILD])
    others = [*extras["images"], *extras["litert"], *extras["zoo"], *project["dependency-groups"]["dev"]]
    write("requirements.lock", "What nasc needs to run; written by .ci/lock.py", runtime)
    write(
        "requirements-dev.lock",
        "What tests, checks and docs need besides; written by .ci/lock.py",
        closure(others, set(runtime)),
    )


def write(name: str, title: str, versions: dict[str, str]) -> None:
    """One pinned package a line."""
    lines = [f"{package}=={version}" for package, version in sorted(versions.items())]
    (ROOT / name).write_text("\n".join([f"# {title}", *lines]) + "\n")


if __name__ == "__main__":
    main()

"""What can be profiled from here: ready or not, what is missing, and the command that fixes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from nasc.devices import Descriptor, Facts, get_device, load_descriptors
from nasc.devices.android import Search, find_phones
from nasc.devices.android.contact import Contact, fits, other_phones, reach, require_bundle
from nasc.devices.android.discovery import no_phone
from nasc.errors import DeviceError


@dataclass(frozen=True)
class DeviceStatus:
    """Whether a device can be profiled from here.

    Args:
        name: What is typed after ``--device``.
        title: One line for people.
        runtime: The default runtime.
        ready: It can be profiled now.
        missing: What stands in the way, or None.
        fix: The command that removes it, or None.
        facts: What is known of it when it is ready.
        addresses: Where phones of this name were found, for ``--device NAME@ADDRESS``.
    """

    name: str
    title: str
    runtime: str
    ready: bool
    missing: str | None
    fix: str | None
    facts: Facts
    addresses: tuple[str, ...] = ()


def list_devices() -> list[DeviceStatus]:
    """Every known device; phones are looked for once, and none is waited for."""
    look = cache(look_around)
    return [_STATUS.get(descriptor.kind, _status_here)(descriptor, look) for descriptor in load_descriptors().values()]


@dataclass(frozen=True)
class Surroundings:
    """The phones around: what the search found, those that answered, and why others did not."""

    search: Search
    contacts: tuple[Contact, ...]
    problems: tuple[DeviceError, ...]


def look_around() -> Surroundings:
    """Look for phones and ask each what it is."""
    try:
        search = find_phones()
    except DeviceError as error:
        return Surroundings(Search((), (), program=True), (), (error,))
    contacts, problems = [], list(search.problems)
    for address in search.addresses:
        try:
            contacts.append(reach(address, patience_s=0))
        except DeviceError as error:
            problems.append(error)
    return Surroundings(search, tuple(contacts), tuple(problems))


Look = Callable[[], Surroundings]


def _status(
    descriptor: Descriptor, problem: DeviceError | None, facts: Facts, addresses: tuple[str, ...] = ()
) -> DeviceStatus:
    return DeviceStatus(
        name=descriptor.name,
        title=descriptor.title,
        runtime=descriptor.runtimes[0],
        ready=problem is None,
        missing=problem.message if problem else None,
        fix=problem.hint if problem else None,
        facts={} if problem else facts,
        addresses=addresses,
    )


def _status_here(descriptor: Descriptor, look: Look) -> DeviceStatus:
    if find_spec("ai_edge_litert") is None:
        problem = DeviceError("the LiteRT runtime (Python package ai-edge-litert)", "pip install ai-edge-litert")
        return _status(descriptor, problem, {})
    return _status(descriptor, None, get_device(descriptor.name).describe())


def _status_phone(descriptor: Descriptor, look: Look) -> DeviceStatus:
    around = look()
    fitting = [contact for contact in around.contacts if fits(contact.facts, descriptor)]
    if not fitting:
        return _status(descriptor, _why_none(around, descriptor), {})
    addresses = tuple(contact.link.address for contact in fitting)
    try:
        for contact in fitting:
            require_bundle(contact)
    except DeviceError as problem:
        return _status(descriptor, problem, {}, addresses)
    facts = fitting[0].facts
    known: Facts = {
        "cpu_model": facts.title,
        "core_kinds": facts.kinds or None,
        "origin": "emulated" if facts.emulated else "measured",
    }
    return _status(descriptor, None, known, addresses)


def _why_none(around: Surroundings, descriptor: Descriptor) -> DeviceError:
    """An error of a phone that is there tells more than that it is another, and that more than that there is none."""
    if around.problems:
        return around.problems[0]
    if around.contacts:
        return other_phones(around.contacts, descriptor)
    return no_phone(around.search.program, descriptor.name)


def _status_remote(descriptor: Descriptor, look: Look) -> DeviceStatus:
    problem = DeviceError(
        "an address: any Linux machine of x86_64 or aarch64 that ssh reaches without a password",
        f"--device {descriptor.name}@user@host",
    )
    return _status(descriptor, problem, {})


_STATUS: Mapping[str, Callable[[Descriptor, Look], DeviceStatus]] = {
    "local": _status_here,
    "simulated": _status_here,
    "android": _status_phone,
    "ssh": _status_remote,
}

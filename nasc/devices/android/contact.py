"""Meeting a phone: ask it what it is, and refuse another than the one that was named."""

from collections.abc import Sequence
from dataclasses import dataclass

from nasc.devices.android.discovery import open_transport
from nasc.devices.bundle import ARCHITECTURES, Bundle, find_bundle
from nasc.devices.bundle.build import build_command
from nasc.devices.descriptor import Descriptor
from nasc.devices.remote.facts import MachineFacts, facts_command, parse_facts
from nasc.devices.remote.link import PATIENCE_S, Link
from nasc.errors import DeviceError

FOLDER = "/data/local/tmp/nasc"
"""nasc's folder on a phone: programs may run there, and no root is needed."""


@dataclass(frozen=True)
class Contact:
    """A phone that answered: the link to it and what it says of itself."""

    link: Link
    facts: MachineFacts


def reach(address: str, patience_s: float = PATIENCE_S) -> Contact:
    """Ask a phone what it is.

    Raises:
        DeviceError: It does not answer.
    """
    link = Link(open_transport(address), patience_s)
    return Contact(link, parse_facts(link.run(facts_command(FOLDER)).output))


def other_phones(found: Sequence[Contact], descriptor: Descriptor) -> DeviceError:
    """The error where phones are in reach and none is the descriptor's."""
    there = ", ".join(f"{contact.facts.title} at {contact.link.address}" for contact in found)
    return DeviceError(f"no {descriptor.title} in reach; found {there}", "connect it, or use --device android")


def fits(facts: MachineFacts, descriptor: Descriptor) -> bool:
    """Whether a phone is one of the descriptor's."""
    return not descriptor.codenames or facts.codename in descriptor.codenames


def require_fit(contact: Contact, descriptor: Descriptor) -> Contact:
    """Refuse another phone than the descriptor's: its table would lie.

    Raises:
        DeviceError: Naming both.
    """
    if not fits(contact.facts, descriptor):
        raise DeviceError(
            f"{contact.link.address}: expected a {descriptor.title} ({', '.join(descriptor.codenames)}); "
            f"got {contact.facts.title} ({contact.facts.codename or 'no codename'})",
            "use its own name from `nasc devices`, or --device android for any phone",
        )
    return contact


def require_bundle(contact: Contact) -> Bundle:
    """The bundle for a phone.

    Raises:
        DeviceError: There can be none for its processor, or it was not built yet.
    """
    architecture = contact.facts.architecture
    if architecture not in ARCHITECTURES:
        raise DeviceError(
            f"{contact.link.address}: expected a processor of {', '.join(ARCHITECTURES)}; got {architecture or 'unknown'}",
            "use a 64-bit device, or give a benchmark_model for it: --runtime benchmark_model",
        )
    bundle = find_bundle(architecture)
    if bundle is None:
        raise DeviceError(f"the bundle for {architecture} is not built yet", build_command(architecture))
    return bundle

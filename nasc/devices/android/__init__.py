"""Android phones over ADB."""

from nasc.devices.android.discovery import Search, find_phones
from nasc.devices.android.phone import AndroidPhone

__all__ = ["AndroidPhone", "Search", "find_phones"]

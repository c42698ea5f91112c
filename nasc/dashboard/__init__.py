"""The dashboard: accuracy against measured latency and all that led there, from records only, without torch.

``info`` computes frozen values, ``draw`` turns them into figures, ``page`` into one self-contained HTML file.
"""

from nasc.dashboard.info import PageInfo, build_info
from nasc.dashboard.page import render_page, write_page

__all__ = ["PageInfo", "build_info", "render_page", "write_page"]

"""The dashboard: accuracy against measured latency and all that led there, from records only, without torch.

``info`` and ``details`` compute frozen values, ``payload`` makes them JSON, the scripts in ``assets`` draw them with
plotly.js; ``page`` puts everything into one HTML file, and ``server`` serves the same page while runs come in.
"""

from nasc.dashboard.info import PageInfo, build_info
from nasc.dashboard.page import render_page, write_page
from nasc.dashboard.payload import Payload, collect_payload
from nasc.dashboard.server import Dashboard

__all__ = ["Dashboard", "PageInfo", "Payload", "build_info", "collect_payload", "render_page", "write_page"]

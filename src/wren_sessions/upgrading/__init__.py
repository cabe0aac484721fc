"""Before a deploy: check whether the new code can read the stored sessions.

`verify` reads sessions in the same way as the application, and writes nothing. It groups its
findings by cause, with the line of `wren_sessions.Migrations` that could help. `migrate` rewrites
sessions whose values are stored in an old form. ``--app`` names the application (`application`).
"""

from __future__ import annotations

from wren_sessions.upgrading._application import Application, application
from wren_sessions.upgrading._report import Cause, Report
from wren_sessions.upgrading._rewriting import MigrateReport, migrate
from wren_sessions.upgrading._verifying import verify

__all__ = ["Application", "Cause", "MigrateReport", "Report", "application", "migrate", "verify"]

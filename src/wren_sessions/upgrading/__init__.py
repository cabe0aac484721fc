"""Before a deploy: would the code in this process read what is stored, and what becomes of it?

`verify` reads sessions as the application would, and writes nothing. What it finds is grouped by
cause, with the line of `wren_sessions.Migrations` that could be added. `migrate` rewrites sessions
whose values are read in another form than they are stored in. The application is what ``--app``
names (`application`).
"""

from __future__ import annotations

from wren_sessions.upgrading._application import Application, application
from wren_sessions.upgrading._report import Cause, Report
from wren_sessions.upgrading._rewriting import MigrateReport, migrate
from wren_sessions.upgrading._verifying import verify

__all__ = ["Application", "Cause", "MigrateReport", "Report", "application", "migrate", "verify"]

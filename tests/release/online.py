"""What only other machines can say of a release: known vulnerabilities, and which URLs answer.

``python online.py SITE_PACKAGES``. What cannot be asked is an error: a dependency that the database
does not know was not checked. ``--skip-audit`` and ``--skip-urls`` go on all the same, and say so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
OURS = "wren-sessions"


def audit(packages: str) -> tuple[list[str], list[str]]:
    """The vulnerabilities of installed packages, and the packages that could not be looked up."""
    command = ("-m", "pip_audit", "--progress-spinner=off", "--format=json", "--path", packages)
    run = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    try:
        found = json.loads(run.stdout)["dependencies"]
    except ValueError:
        return [], [run.stderr.strip() or "pip-audit said nothing"]
    known = [
        f"{each['name']} {each['version']}: {flaw['id']}, mended in {flaw['fix_versions']}"
        for each in found
        for flaw in each.get("vulns", ())
    ]
    skipped = [each["name"] for each in found if "skip_reason" in each and each["name"] != OURS]
    return known, skipped


def silent_urls() -> list[str]:
    """The project's URLs that do not answer."""
    urls = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["urls"]
    silent = []
    for name, url in urls.items():
        try:
            urlopen(Request(url, method="HEAD"), timeout=20).close()  # noqa: S310 -- https, our own
        except (URLError, TimeoutError) as error:
            silent.append(f"{name} {url}: {error}")
    return silent


def main(packages: str, options: list[str]) -> int:
    """Say what was found; 0 if a release may go on."""
    known, unknown = audit(packages)
    silent = silent_urls()
    for line in (
        *(f"VULNERABLE {flaw}" for flaw in known),
        *(f"NO ANSWER {url}" for url in silent),
    ):
        print(line)  # noqa: T201
    if unknown:
        print(f"NOT AUDITED, since the service does not know them or is not reached: {unknown}")  # noqa: T201
    unasked = bool(unknown) and "--skip-audit" not in options
    unanswered = bool(silent) and "--skip-urls" not in options
    if unasked or unanswered:
        print("To go on without: nox -s release -- --skip-audit --skip-urls")  # noqa: T201
    return int(bool(known) or unasked or unanswered)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

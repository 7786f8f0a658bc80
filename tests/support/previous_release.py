"""The previous release: its code from git, with an environment of its own."""

import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMIT = "b574cdaa32a31de58d3ad7514887c831caa9908d"
"""The last commit of the previous release. To be changed with each release."""


class MissingRelease(Exception):
    """The previous release is not in the history of this checkout."""


class PreviousRelease:
    """Unpacked and installed below `var/`, once for each commit."""

    def __init__(self) -> None:
        self.root = ROOT / "var" / "releases" / COMMIT
        self.python = self.root / ".venv" / "bin" / "python"

    def install(self) -> None:
        installed = self.root / ".installed"
        if installed.exists():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
        if packed.returncode != 0:
            raise MissingRelease(f"{packed.stderr.decode().strip()}; `git fetch --unshallow` gets the whole history")
        with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
            archive.extractall(self.root, filter="data")
        subprocess.run([sys.executable, "-m", "venv", self.python.parents[1]], check=True)
        requirements = self.root / "requirements.txt"
        subprocess.run([self.python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        installed.touch()

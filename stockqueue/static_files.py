"""Static files are collected in one folder for the web server, if DJANGO_DEBUG is off."""

import filecmp
import sys
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.apps import StaticFilesConfig
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import CommandError, call_command

from stockqueue.private_files import locked


def collect_static_files() -> None:
    """Run `collectstatic` if STATIC_ROOT lacks files of this version. Web servers take turns.

    Pages read the names of files from the manifest, and fail without it.
    """
    if settings.DEBUG:
        return
    try:
        with locked(settings.STATIC_ROOT):
            if outdated := _outdated():
                for copy in outdated:  # collectstatic keeps copies newer than their source
                    copy.unlink(missing_ok=True)
                call_command("collectstatic", interactive=False, verbosity=0)
    except (CommandError, OSError) as error:
        sys.exit(f"static files: cannot be collected in {str(settings.STATIC_ROOT)!r}: {error}")


def _outdated() -> list[Path]:
    """Copies that are missing, differ from their source, or are newer than the manifest, as after a crash."""
    manifest = settings.STATIC_ROOT / ManifestStaticFilesStorage.manifest_name
    finished = manifest.stat().st_mtime if manifest.exists() else 0.0
    copies = {settings.STATIC_ROOT / name: source for name, source in _sources().items()}
    return [
        copy
        for copy, source in copies.items()
        if not copy.exists() or copy.stat().st_mtime > finished or not filecmp.cmp(source, copy, shallow=False)
    ]


def _sources() -> dict[str, Path]:
    """Installed files by the names of their copies. The first file of a name counts, as in `collectstatic`."""
    found: dict[str, Path] = {}
    for finder in get_finders():
        for path, storage in finder.list(StaticFilesConfig.ignore_patterns):
            found.setdefault(f"{getattr(storage, 'prefix', None) or ''}/{path}".lstrip("/"), Path(storage.path(path)))
    return found

"""nginx in front of a web server that a test starts."""

import os
from pathlib import Path

from operations.local.child_processes import is_listening
from tests.support.servers import Server, find_server

FRONT = Path(__file__).parents[2] / "deploy" / "nginx" / "stockqueue.conf"


class NginxServer(Server):
    """nginx with the shipped front of a web server at `upstream` (host and port)."""

    program = "nginx"

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._upstream = upstream

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _prepare(self) -> None:
        temporary = "".join(
            f"{name}_temp_path {self.folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {self.folder}/pid; error_log stderr;"
            + ("user root;" if os.geteuid() == 0 else "")
            + f"events {{}} http {{ access_log off; {temporary} upstream stockqueue {{ server {self._upstream}; }}"
            f" server {{ listen {self.host}:{self.port}; include {FRONT}; }} }}"
        )

    def _command(self) -> list[str]:
        return [find_server(self.program), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def _answers(self) -> bool:
        return is_listening(self.host, self.port)

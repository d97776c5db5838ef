"""An FTP server of pyftpdlib where anybody may upload: `python -m tests.e2e.pyftpd DIRECTORY`. Prints its port."""

from __future__ import annotations

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer


class Handler(FTPHandler):  # type: ignore[misc]  # pyftpdlib has no types
    authorizer = DummyAuthorizer()


def main() -> None:
    logging.basicConfig(level=logging.ERROR)  # else it logs every command
    Handler.authorizer.add_anonymous(sys.argv[1], perm="elradfmwMT")
    server = FTPServer(("127.0.0.1", 0), Handler)
    print(server.address[1], flush=True)
    server.serve_forever(handle_exit=False)


if __name__ == "__main__":
    main()

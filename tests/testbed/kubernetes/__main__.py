"""The stand-in's own process: `python -m tests.testbed.kubernetes FOLDER VERSION`.

FOLDER holds cert.pem, key.pem and the client's token. It prints its port. Then each line of standard input is one of
the orders below, a JSON list of its name and arguments, answered by a line with the JSON result. When the input ends,
everything ends.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tests.testbed.kubernetes.api import serve
from tests.testbed.kubernetes.facts import Cut, Facts, Pod
from tests.testbed.kubernetes.process import end_all_descendants, own_all_descendants


def orders(facts: Facts) -> dict[str, Callable[..., Any]]:
    """What may be asked of this process, by name."""
    return {
        "add": lambda pod: facts.add(Pod(**pod)),
        "remove": facts.remove,
        "forbid": facts.forbid,
        "allow": facts.allow,
        "cut_next": lambda after_bytes, stream: facts.cut_next(Cut(after_bytes, stream)),
        "execs": lambda: [asdict(executed) for executed in facts.execs],
    }


async def main(folder: Path, version: str) -> None:
    own_all_descendants()
    facts = Facts(version, (folder / "token").read_text())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = await asyncio.start_server(partial(serve, facts, tls), "127.0.0.1", 0)
    answer(server.sockets[0].getsockname()[1])

    lines = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    known = orders(facts)
    while line := await lines.readline():
        name, *arguments = json.loads(line)
        answer(known[name](*arguments))
    server.close()
    end_all_descendants()


def answer(result: object) -> None:
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

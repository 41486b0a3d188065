"""HTTP, and the part of the Kubernetes API that kubectl's get, exec and auth need."""

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.testbed.kubernetes.facts import Exec, Facts, Pod
from tests.testbed.kubernetes.process import Channel, Process
from tests.testbed.kubernetes.session import Connection, Session, Wire
from tests.testbed.kubernetes.spdy import PROTOCOL, Spdy
from tests.testbed.kubernetes.websocket import PROTOCOLS, WebSocket, accept

USER = "test"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REVIEWS = "authorization.k8s.io/v1"

Document = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: list[str]
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def said(self, name: str, default: str = "") -> str:
        """A parameter of the address."""
        return self.query.get(name, [default])[0]


class Refusal(Exception):
    """A request that is not granted, as Kubernetes says it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.document: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self.document |= {"message": message, "reason": reason, "code": code}


async def serve(facts: Facts, tls: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests until the client closes it or makes an exec of it."""
    tcp = writer.transport
    try:
        await writer.start_tls(tls)
        while request := await _read_request(reader):
            try:
                if request.headers.get("authorization") != f"Bearer {facts.token}":
                    raise Refusal(401, "Unauthorized", "Unauthorized")
                if request.path[-1] == "exec":
                    await _execute(facts, request, Wire(reader, writer, tcp))
                    return
                code, document = 201 if request.method == "POST" else 200, answer(facts, request)
            except Refusal as refusal:
                code, document = refusal.code, refusal.document
            body = json.dumps(document).encode()
            await _send(writer, f"{code} -", {"Content-Type": "application/json", "Content-Length": len(body)}, body)
    except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
        return  # the client is gone, or everything ends: Python 3.11 would print a cancelled one's traceback
    finally:
        writer.close()


def answer(facts: Facts, request: Request) -> Document:
    """What the API says to anything but an exec; Refusal if it refuses."""
    match request.path:
        case ["version"]:
            major, minor = facts.version.split(".")
            return {"major": major, "minor": minor, "gitVersion": f"v{facts.version}.0", "platform": "linux/amd64"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            version = {"groupVersion": REVIEWS, "version": "v1"}
            group = {"name": REVIEWS.split("/")[0], "versions": [version], "preferredVersion": version}
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
        case ["api", "v1"]:
            return _resources("v1", {"namespaces": "Namespace", "pods": "Pod", "pods/exec": "PodExecOptions"})
        case ["apis", "authorization.k8s.io", "v1"]:
            return _resources(REVIEWS, {"selfsubjectaccessreviews": "SelfSubjectAccessReview"})
        case ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]:
            return _review(facts, request.body)
        case ["api", "v1", "namespaces", name]:
            _authorize(facts, "get", "namespaces", name, name)
            if name not in facts.namespaces:
                raise Refusal(404, "NotFound", f'namespaces "{name}" not found')
            return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}, "status": {"phase": "Active"}}
        case ["api", "v1", "pods"]:
            return _list(facts, None, request)
        case ["api", "v1", "namespaces", namespace, "pods"]:
            return _list(facts, namespace, request)
        case ["api", "v1", "namespaces", namespace, "pods", name]:
            _authorize(facts, "get", "pods", namespace, name)
            return describe(_find(facts, namespace, name))
    raise Refusal(404, "NotFound", "the server could not find the requested resource")


def describe(pod: Pod) -> Document:
    """A pod as the API shows it."""
    metadata: Document = {
        "name": pod.name,
        "namespace": pod.namespace,
        "labels": pod.labels,
        "creationTimestamp": pod.created,
    }
    if pod.terminating:
        metadata["deletionTimestamp"] = pod.created
    running = pod.phase == "Running"
    ready = running and pod.ready
    state: Document = {"running": {"startedAt": pod.created}} if running else {"waiting": {"reason": "PodInitializing"}}
    if pod.phase in ("Succeeded", "Failed"):
        state = {"terminated": {"exitCode": int(pod.phase == "Failed")}}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"containers": [{"name": name, "image": "test"} for name in pod.containers]},
        "status": {
            "phase": pod.phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [
                {"name": name, "ready": ready, "state": state, "restartCount": 0, "image": "test", "imageID": ""}
                for name in pod.containers
            ],
        },
    }


def _list(facts: Facts, namespace: str | None, request: Request) -> Document:
    _authorize(facts, "list", "pods", namespace)
    try:
        pods = facts.select(namespace, request.said("labelSelector"), request.said("fieldSelector"))
    except ValueError as error:
        raise Refusal(400, "BadRequest", str(error)) from error
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [describe(pod) for pod in pods]}


def _resources(version: str, kinds: dict[str, str]) -> Document:
    resources = [
        {"name": name, "kind": kind, "namespaced": name.startswith("pods"), "verbs": ["create", "get", "list"]}
        for name, kind in kinds.items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _find(facts: Facts, namespace: str, name: str) -> Pod:
    if pod := facts.pods.get((namespace, name)):
        return pod
    raise Refusal(404, "NotFound", f'pods "{name}" not found')


def _authorize(facts: Facts, verb: str, resource: str, namespace: str | None, name: str = "") -> None:
    if (verb, resource) not in facts.forbidden:
        return
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    what = resource.split("/")[0] + (f' "{name}"' if name else "")
    message = f'{what} is forbidden: User "{USER}" cannot {verb} resource "{resource}" in API group "" {where}'
    raise Refusal(403, "Forbidden", message)


def _review(facts: Facts, body: bytes) -> Document:
    """Whether the client may do what it asks about, in JSON or, since kubectl 1.32, as protobuf."""
    if body.startswith(PROTOBUF):
        asked = _fields(_fields(_fields(_fields(body[len(PROTOBUF) :])[2])[2])[1])  # object, spec, resourceAttributes
        verb, resource, subresource = (asked.get(number, b"").decode() for number in (2, 5, 6))
    else:
        attributes = json.loads(body)["spec"]["resourceAttributes"]
        verb, resource, subresource = (attributes.get(name, "") for name in ("verb", "resource", "subresource"))
    wanted = f"{resource}/{subresource}" if subresource else resource
    allowed = (verb, wanted) not in facts.forbidden
    return {"kind": "SelfSubjectAccessReview", "apiVersion": REVIEWS, "spec": {}, "status": {"allowed": allowed}}


PROTOBUF = b"k8s\0"


def _fields(message: bytes) -> dict[int, bytes]:
    """A protobuf message's fields by number; all that are asked for are texts and messages."""
    fields, at = {}, 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        value = number()
        if key & 7 == 2:
            fields[key >> 3] = message[at : at + value]
            at += value
    return fields


async def _execute(facts: Facts, request: Request, wire: Wire) -> None:
    """Make an exec of the connection, and stay until it is over."""
    pod, container = _asked_for(facts, request)
    if request.headers.get("upgrade", "").lower() == "websocket":
        transport = "websocket"
        offered = request.headers.get("sec-websocket-protocol", "").replace(" ", "").split(",")
        protocol = next((known for known in PROTOCOLS if known in offered), None)
        if not protocol:
            raise Refusal(400, "BadRequest", f"none of the protocols {PROTOCOLS} is offered")
        key = accept(request.headers["sec-websocket-key"])
        agreed = {"Upgrade": "websocket", "Sec-WebSocket-Accept": key, "Sec-WebSocket-Protocol": protocol}
    else:
        transport = "spdy"
        agreed = {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": PROTOCOL}
    await _send(wire.writer, "101 Switching Protocols", agreed | {"Connection": "Upgrade"})

    tty, stdin = request.said("tty") == "true", request.said("stdin") == "true"
    channels = {Channel.ERROR, Channel.STDOUT, Channel.RESIZE if tty else Channel.STDERR}
    if stdin:
        channels.add(Channel.STDIN)
    connection: Connection = WebSocket(wire) if transport == "websocket" else Spdy(wire)
    await connection.open(channels)
    if connection.lost:
        return

    command = tuple(request.query.get("command", []))
    number = facts.record(Exec(pod.name, pod.namespace, container, command, tty, stdin, transport))
    environment = {"PATH": PATH, **pod.env, **({"TERM": "xterm"} if tty else {})}
    try:
        process = Process((*pod.wrap, *command), environment, tty=tty, stdin=stdin)
    except OSError as error:
        failure = Refusal(
            500, "InternalError", f"Internal error occurred: error executing command in container: {error}"
        )
        await connection.finish(json.dumps(failure.document).encode())
        while await connection.receive():
            pass
        return
    facts.update(number, pid=process.pid)
    session = Session(connection, process, facts.cut, facts.was_cut)
    await session.run(channels, lambda status: facts.update(number, status=status))


def _asked_for(facts: Facts, request: Request) -> tuple[Pod, str]:
    """The pod and container of an exec that is granted."""
    match request.path:
        case ["api", "v1", "namespaces", namespace, "pods", name, "exec"]:
            pass
        case _:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
    # A WebSocket is a GET: older servers ask for the verb get alone, newer ones for create in any case.
    if request.method == "GET":
        _authorize(facts, "get", "pods/exec", namespace, name)
    _authorize(facts, "create", "pods/exec", namespace, name)
    pod = _find(facts, namespace, name)
    container = request.said("container", pod.containers[0])
    if container not in pod.containers:
        raise Refusal(400, "BadRequest", f"container {container} is not valid for pod {name}")
    if pod.phase != "Running":
        raise Refusal(404, "NotFound", f'container not found ("{container}")')
    return pod, container


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        name = name.lower()
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    address = urlsplit(target)
    query = parse_qs(address.query, keep_blank_values=True)
    return Request(method, address.path.strip("/").split("/"), query, headers, body)


async def _send(writer: asyncio.StreamWriter, status: str, headers: dict[str, Any], body: bytes = b"") -> None:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()

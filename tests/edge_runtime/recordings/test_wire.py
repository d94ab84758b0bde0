"""Messages between the daemon and the process that records."""

import fcntl
import resource
import socket
import threading
import time

import pytest

from edge_runtime.recordings.wire import Link, LinkLost
from tests.support.waiting import WAIT_S


def test_a_message_that_comes_by_drops_is_not_waited_for():
    ours, theirs = socket.socketpair()

    def drip():
        for byte in b'{"kind": "request", "body_bytes": 0}\n':
            try:
                theirs.send(bytes([byte]))
            except OSError:
                return
            time.sleep(0.05)

    dripping = threading.Thread(target=drip)
    with ours, theirs:
        dripping.start()
        with pytest.raises(LinkLost):
            Link(ours, 0.2).receive(WAIT_S)
        ours.close()
        dripping.join(WAIT_S)


def test_a_process_with_many_open_files_can_record():
    """``select`` knows file descriptors below 1024 only."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    try:
        ours, theirs = socket.socketpair()
        with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1500)) as far:
            link = Link(far, WAIT_S)
            assert not link.is_readable(0.0)
            Link(theirs, WAIT_S).send({"kind": "request"})
            assert link.receive(WAIT_S).kind == "request"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

"""Exceptions of ``requests`` and ``urllib3`` as ours, without their texts, which may hold addresses with secrets."""

from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.bundles.travel.bounded_http import InnerPeer, PlainHttp, TooLong
from edge_runtime.errors import RegistryLost, RegistryRefused

MAX_REDIRECTS = 5
CHECK_TRUST = (
    "name the CA of a server of your own in the variable REQUESTS_CA_BUNDLE, as the path of a PEM file"
)
CHECK_HOST = "check that the reference names a registry, and its token service"
CHECK_STORAGE = "check the addresses of the registry's token service and of its storage"
_SERVER_ERRORS = 500
_WAIT = frozenset({408, 425, 429})


def is_passing(status: int) -> bool:
    """Whether an answer with this status may be another one later."""
    return status >= _SERVER_ERRORS or status in _WAIT


@contextmanager
def as_registry_errors(shown: str) -> Iterator[None]:
    """Around each request, and around reading its answer.

    Args:
        shown: What is asked, for messages.

    Raises:
        RegistryLost: it is away, or breaks off.
        RegistryRefused: it does what no try mends.
        requests.exceptions.JSONDecodeError: of who asked for JSON.
    """
    import requests
    import urllib3

    def refuse(reason: str) -> RegistryRefused:
        return RegistryRefused(shown, reason)

    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as err:
        raise refuse(f"its certificate is not trusted, or it speaks no TLS; {CHECK_TRUST}") from err
    except PlainHttp as err:
        # also read by who commanded 'install', which has no such option
        fix = "let it lead to https, or on the box give --plain-http to 'edge-runtime bundle'"
        raise refuse(f"it leads to an address without TLS; {fix}") from err
    except InnerPeer as err:
        raise refuse(
            "its name leads to an address of this machine, or of its network or cloud itself"
        ) from err
    except TooLong as err:
        raise refuse(f"{err}, where a few words are expected; {CHECK_HOST}") from err
    except (
        requests.exceptions.ConnectionError,
        requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError,
    ) as err:
        raise RegistryLost(shown, f"no connection ({_root_of(err)})") from err
    except requests.exceptions.TooManyRedirects as err:
        found = f"it leads on to another address more than {MAX_REDIRECTS} times"
        raise refuse(f"{found}; expected the content; {CHECK_STORAGE}") from err
    except requests.exceptions.JSONDecodeError:
        raise
    except (requests.exceptions.RequestException, ValueError) as err:
        found = f"it leads to an address that cannot be asked ({type(err).__name__})"
        raise refuse(f"{found}; expected https://HOST/...; {CHECK_STORAGE}") from err


def _root_of(err: BaseException) -> str:
    """The words of the operating system where there are some."""
    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        inner = next((one for one in seen.args if isinstance(one, BaseException)), None)
        seen = inner or getattr(seen, "reason", None) or seen.__cause__ or seen.__context__
        if not isinstance(seen, BaseException):
            break
    return type(err).__name__

"""Signed commands: who may do what, and every way in which a signature or its claims can be wrong."""

import base64
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from edge_runtime.errors import CommandError, KeyUnusable
from edge_runtime.messaging.commands.callers import LONGEST_S, Caller, Callers
from edge_runtime.messaging.commands.command_keys import load_command_key, load_signing_key, sign
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.commands.used_file import UsedFile

NOW_WALL_S = 1_795_448_459.0
CLAIMS = {"aud": "belt-3", "exp": NOW_WALL_S + 60, "jti": "one", "verb": "rollback"}


@pytest.fixture(scope="module")
def keys():
    return {name: OKPKey.generate_key("Ed25519") for name in ("vera", "otto", "olga", "mallory")}


@pytest.fixture(scope="module")
def signers(keys, tmp_path_factory):
    folder, roles = tmp_path_factory.mktemp("keys"), {"vera": "viewer", "otto": "operator", "olga": "owner"}
    found = {}
    for name, role in roles.items():
        file = folder / f"{name}.pub"
        file.write_bytes(keys[name].as_pem(private=False))
        key = load_command_key(file)
        found[key.id] = Caller(name, Role.of(role), key)
    return found


@pytest.fixture
def box(signers, tmp_path):
    return Box(
        Callers(device="belt-3", groups=frozenset({"line-3"}), signers=signers, unsigned=None), tmp_path
    )


class Box:
    """A handler with a real file of used commands; notes what it obeyed."""

    def __init__(self, callers, folder):
        self.done, self.noted, self._callers, self._folder = [], [], callers, folder
        self.start()

    def start(self):
        handlers = dict.fromkeys(("status", "rollback", "remove", "rollout", "expire", "restart"), self._obey)
        self.handler = CommandHandler(
            handlers,
            CommandPolicy(True, self._callers),
            UsedFile(self._folder / "commands.used"),
            self.noted.append,
        )

    def _obey(self, request):
        self.done.append(request.arguments)
        return {"n": len(self.done)}

    def ask(self, payload, verb="rollback", now_wall_s=NOW_WALL_S):
        answer = self.handler.answer(verb, payload, is_retained=False, now_s=0.0, now_wall_s=now_wall_s)
        return None if answer is None else json.loads(answer.payload)


def token(key, **claims):
    return sign(json.dumps({**CLAIMS, **claims}).encode(), key)


def forged(header, content=CLAIMS, signature=b"x" * 64):
    parts = (json.dumps(header).encode(), json.dumps(content).encode(), signature)
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def test_a_signed_command_is_obeyed_once_and_a_copy_of_it_gets_the_same_answer(box, keys):
    request = token(keys["otto"], arguments={"model": "parts"})
    first = box.ask(request)
    assert first == {"status": "ok", "data": {"n": 1}, "transaction": "one"}
    assert box.ask(request) == first
    assert [one.model for one in box.done] == ["parts"]


def test_a_copy_is_not_obeyed_after_a_kill_nor_by_a_clock_that_was_set_back(box, keys):
    request = token(keys["otto"])
    box.ask(request)
    box.start()
    assert box.ask(request)["status"] == "error"
    assert box.ask(request, now_wall_s=NOW_WALL_S - LONGEST_S + 61)["status"] == "error"
    assert len(box.done) == 1


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_stock_libraries_sign_with_either_name_of_the_algorithm(box, keys, name):
    header = {"alg": name, "kid": keys["otto"].thumbprint(), "typ": "JWT"}
    request = jws.serialize_compact(header, json.dumps(CLAIMS), keys["otto"], algorithms=[name])
    assert box.ask(request.encode())["status"] == "ok"


@pytest.mark.parametrize(
    ("who", "verb", "arguments", "is_obeyed"),
    [
        ("vera", "status", {}, True),
        ("vera", "rollout", {"action": "history"}, True),
        ("vera", "rollout", {"action": "promote"}, False),
        ("vera", "rollback", {}, False),
        ("otto", "rollback", {}, True),
        ("otto", "rollout", {"action": "promote"}, True),
        ("otto", "remove", {"name": "night"}, True),
        ("otto", "restart", {}, False),
        ("olga", "restart", {}, True),
    ],
)
def test_a_role_opens_its_verbs_only(box, keys, who, verb, arguments, is_obeyed):
    answer = box.ask(token(keys[who], verb=verb, arguments=arguments), verb)
    assert (answer["status"] == "ok") == is_obeyed
    assert len(box.done) == is_obeyed


@pytest.mark.parametrize(
    ("claims", "verb"),
    [
        ({"aud": "belt-4"}, "rollback"),
        ({"aud": []}, "rollback"),
        ({"aud": None}, "rollback"),
        ({"verb": "status"}, "rollback"),
        ({"verb": "rollback"}, "expire"),
        ({"exp": NOW_WALL_S - 1}, "rollback"),
        ({"exp": NOW_WALL_S + LONGEST_S + 60}, "rollback"),
        ({"exp": 1e300}, "rollback"),
        ({"exp": "tomorrow"}, "rollback"),
        ({"exp": True}, "rollback"),
        ({"nbf": NOW_WALL_S + 600}, "rollback"),
        ({"iat": NOW_WALL_S + 600}, "rollback"),
        ({"jti": ""}, "rollback"),
        ({"jti": "x" * 129}, "rollback"),
        ({"jti": 7}, "rollback"),
        ({"arguments": {"transaction": "two"}}, "rollback"),
        ({"arguments": {"expires_at": "2099-01-01T00:00:00Z"}}, "rollback"),
        ({"arguments": {"device": "belt-3"}}, "rollback"),
        ({"arguments": {"no-such": 1}}, "rollback"),
        ({"arguments": []}, "rollback"),
        ({"verb": "no-such"}, "no-such"),
    ],
)
def test_a_signed_command_with_wrong_claims_changes_nothing(box, keys, claims, verb):
    assert box.ask(token(keys["otto"], **claims), verb)["status"] == "error"
    assert box.done == []


@pytest.mark.parametrize("missing", ["aud", "exp", "jti", "verb"])
def test_a_claim_that_is_missing_is_named(box, keys, missing):
    content = {name: value for name, value in CLAIMS.items() if name != missing}
    assert missing in box.ask(sign(json.dumps(content).encode(), keys["otto"]))["error"]
    assert box.done == []


def test_forged_requests_change_nothing(box, keys):
    kid, good = keys["otto"].thumbprint(), token(keys["otto"])
    head, content, signature = good.split(b".")
    other = token(keys["mallory"]).split(b".")
    unsigned = forged({"alg": "HS256", "kid": kid}).rpartition(b".")[0]
    secret = keys["otto"].as_pem(private=False)
    requests = [
        b".".join((head, content, other[2])),
        b".".join((head, other[1], other[2])),
        b".".join((other[0], other[1], signature)),
        token(keys["mallory"]),
        good[:-4] + b"AAAA",
        b".".join((head, content, b"A")),
        b".".join((head, content)),
        forged({"alg": "none", "kid": kid}, signature=b""),
        forged({"alg": "none", "kid": kid}),
        forged({"alg": "EdDSA", "kid": kid}),
        forged({"alg": "EdDSA", "kid": [kid]}),
        forged({"alg": "EdDSA"}),
        forged({"alg": "EdDSA", "kid": kid, "crit": ["exp"], "exp": 1}),
        forged({"alg": "EdDSA", "kid": kid, "jwk": keys["mallory"].as_dict(private=False)}),
        forged([]),
        unsigned + b"." + base64.urlsafe_b64encode(hmac.digest(secret, unsigned, "sha256")).rstrip(b"="),
        json.dumps({"transaction": "one"}).encode(),
        b"",
        b"{}",
        b"e30.e30.e30",
        b"[" * 10_000,
        b"A" * (MAX_REQUEST_BYTES + 1),
        b"A" * 20_000 + b"." + b"A" * 20_000 + b"." + b"A" * 20_000,
    ]
    for request in requests:
        answer = box.ask(request)
        assert answer is None or answer["status"] == "error"
    assert box.done == []
    assert box.ask(good)["status"] == "ok"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_changed_byte_is_taken(signers, keys, noise, at):
    callers = Callers(device="belt-3", signers=signers, unsigned=None)
    good = token(keys["otto"])
    changed = good[:at] + noise + good[at + len(noise) :]
    if changed.strip() == good:
        return
    with pytest.raises(CommandError):
        callers.read("rollback", changed, NOW_WALL_S)


def test_a_group_is_an_audience(box, keys):
    assert box.ask(token(keys["otto"], aud=["line-9", "line-3"]))["status"] == "ok"


def test_unsigned_callers_do_what_the_configuration_says(signers, tmp_path):
    box = Box(Callers(device="belt-3", signers=signers, unsigned=Role.VIEWER), tmp_path)
    assert box.ask(b"{}", "status")["status"] == "ok"
    assert box.ask(b"{}", "rollback")["status"] == "error"


def test_a_refusal_is_recognised_by_its_id(box, keys):
    assert box.ask(token(keys["mallory"], jti="mine"))["transaction"] == "mine"


@pytest.mark.parametrize(
    "crit", [None, 1, 1.5, True, [], [None], [["a"]], [{}], {}, "b64", ["b64"], ["exp"], ["b64", 3]]
)
def test_no_critical_extension_is_understood(box, keys, crit):
    header = {"alg": "EdDSA", "kid": keys["otto"].thumbprint(), "crit": crit, "b64": False, "exp": 1}
    assert box.ask(forged(header))["status"] == "error"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["alg", "crit", "b64", "typ", "cty", "jwk", "jku", "x5c", "x5u", "zip", "enc", "p2c"])


@given(st.dictionaries(names, json_values), json_values)
def test_no_header_raises_anything_but_a_refusal(signers, keys, header, content):
    callers = Callers(device="belt-3", signers=signers, unsigned=None)
    for one in (header, {"alg": "EdDSA", **header}):
        with pytest.raises(CommandError):
            callers.read("rollback", forged({**one, "kid": keys["otto"].thumbprint()}, content), NOW_WALL_S)


def test_what_only_asks_is_neither_remembered_nor_noted(signers, keys, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_runtime.messaging.commands.used_file.SLOTS", 2)
    box = Box(Callers(device="belt-3", signers=signers, unsigned=Role.VIEWER), tmp_path)
    long = token(keys["vera"], verb="rollout", jti="long", exp=NOW_WALL_S + LONGEST_S - 1)
    assert box.ask(long, "rollout")["status"] == "ok"
    for number in range(5):
        asked = json.dumps({"transaction": f"n{number}", "action": "status"}).encode()
        assert box.ask(asked, "rollout")["status"] == "ok"
    assert box.ask(token(keys["olga"]))["status"] == "ok"
    assert [entry.verb for entry in box.noted] == ["rollback"]


def test_one_long_command_keeps_no_later_one_out(box, keys, monkeypatch):
    monkeypatch.setattr("edge_runtime.messaging.commands.used_file.SLOTS", 3)
    long = token(keys["otto"], jti="long", exp=NOW_WALL_S + 3600)
    assert box.ask(long)["status"] == "ok"
    for number in range(7):
        now_wall_s = NOW_WALL_S + 100 * number
        later = token(keys["otto"], jti=f"n{number}", exp=now_wall_s + 60)
        assert box.ask(later, now_wall_s=now_wall_s)["status"] == "ok"
        if number == 4:
            box.start()
    assert box.ask(long, now_wall_s=NOW_WALL_S + 700)["status"] == "error"
    assert len(box.done) == 8


def test_a_copy_of_one_that_was_written_over_is_refused_by_a_clock_that_was_set_back(box, keys, monkeypatch):
    monkeypatch.setattr("edge_runtime.messaging.commands.used_file.SLOTS", 2)
    first = token(keys["otto"], jti="first")
    assert box.ask(first)["status"] == "ok"
    for number in range(2):
        now_wall_s = NOW_WALL_S + 100 + number
        assert box.ask(token(keys["otto"], jti=f"n{number}", exp=now_wall_s + 60), now_wall_s=now_wall_s)
    box.start()
    assert box.ask(first)["status"] == "error"
    assert len(box.done) == 3


def test_more_commands_than_can_be_remembered_are_refused_until_one_expires(box, keys, monkeypatch):
    monkeypatch.setattr("edge_runtime.messaging.commands.used_file.SLOTS", 3)
    for number in range(3):
        assert box.ask(token(keys["otto"], jti=f"n{number}"))["status"] == "ok"
    fourth = token(keys["otto"], jti="n3", exp=NOW_WALL_S + 200)
    assert box.ask(fourth)["status"] == "error"
    assert len(box.done) == 3
    assert box.ask(fourth, now_wall_s=NOW_WALL_S + 61)["status"] == "ok"


def test_an_operator_cannot_keep_the_owner_out(box, keys, monkeypatch):
    monkeypatch.setattr("edge_runtime.messaging.commands.used_file.SLOTS", 16)
    sent = [token(keys["otto"], jti=f"n{number}", exp=NOW_WALL_S + 3600) for number in range(16)]
    assert [box.ask(one)["status"] for one in sent] == ["ok"] * 15 + ["error"]
    box.start()
    by_owner = [token(keys["olga"], verb="restart", jti=f"o{number}") for number in range(2)]
    assert [box.ask(one, "restart")["status"] for one in by_owner] == ["ok", "error"]
    assert [box.ask(one)["status"] for one in sent] == ["error"] * 16
    assert len(box.done) == 16


def test_keys_are_read_from_pem_and_json(keys, tmp_path):
    pem, json_key = tmp_path / "a.pub", tmp_path / "a.jwk"
    pem.write_bytes(keys["otto"].as_pem(private=False))
    json_key.write_text(json.dumps(keys["otto"].as_dict(private=False)))
    assert load_command_key(pem).id == load_command_key(json_key).id == keys["otto"].thumbprint()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kty": "OKP"}', '{"kty": "oct", "k": "AAAA"}', "\0" * 20_000, "PEM"]
)
def test_a_file_that_holds_no_key_is_named(tmp_path, text):
    file = tmp_path / "key.pub"
    file.write_text(text)
    with pytest.raises(KeyUnusable) as found:
        load_command_key(file)
    assert found.value.path == str(file)


def test_halves_of_a_pair_are_not_mixed_up(keys, tmp_path):
    private, public = tmp_path / "a", tmp_path / "a.pub"
    private.write_bytes(keys["otto"].as_pem(private=True))
    public.write_bytes(keys["otto"].as_pem(private=False))
    with pytest.raises(KeyUnusable):
        load_command_key(private)
    with pytest.raises(KeyUnusable):
        load_signing_key(public)
    with pytest.raises(KeyUnusable):
        load_command_key(tmp_path / "missing")


def test_nobody_else_can_use_up_an_id(signers, keys, tmp_path):
    box = Box(Callers(device="belt-3", signers=signers, unsigned=Role.OWNER), tmp_path)
    for transaction in ("one", "jws one"):
        assert box.ask(json.dumps({"transaction": transaction}).encode())["status"] == "ok"
    assert box.ask(token(keys["olga"]))["status"] == "ok"
    assert box.ask(token(keys["otto"]))["status"] == "ok"

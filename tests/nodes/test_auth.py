"""Who a client is."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from roomful_nodes.auth import Authenticator, Secrets
from roomful_nodes.settings import AuthSettings
from roomful_protocol.errors import Code, Refused
from roomful_rooms.clock import Clock

SECRET = "s" * 32
NOW_S = 1_800_000_000
CLOCK = Clock(lambda: 0.0, lambda: NOW_S * 1000)
HS = AuthSettings(secret=SECRET, algorithms=("HS256",))


def authenticator(settings: AuthSettings = HS, *, anonymous: bool = False) -> Authenticator:
    return Authenticator(
        settings, anonymous=anonymous, clock=CLOCK, new_id=lambda: "0123456789abcdef"
    )


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode(claims, secret, algorithm)


def refused(text: str, settings: AuthSettings = HS) -> str:
    with pytest.raises(Refused) as caught:
        authenticator(settings).verify(text)
    assert caught.value.code is Code.UNAUTHORIZED
    return caught.value.message


def test_a_token_says_who_one_is() -> None:
    identity = authenticator().identify(token(sub="ann", name="Ann", exp=NOW_S + 60), "bob", "Bob")
    assert (identity.user, identity.name) == ("ann", "Ann")
    assert identity.expires_ms == (NOW_S + 60) * 1000


def test_the_name_is_the_user_where_the_token_has_none() -> None:
    assert authenticator().verify(token(sub="ann")).name == "ann"


def test_rooms_of_a_token_are_patterns() -> None:
    identity = authenticator().verify(token(sub="ann", rooms=["chat-*", "lobby"]))
    assert identity.may_join("chat-1")
    assert identity.may_join("lobby")
    assert not identity.may_join("Lobby")
    assert not identity.may_join("admin")
    assert authenticator().verify(token(sub="ann")).may_join("anything")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"sub": "ann", "exp": NOW_S}, "expired"),
        ({"sub": "ann", "exp": "soon"}, "exp is no number"),
        ({"sub": "ann", "exp": True}, "exp is no number"),
        ({"sub": "ann", "exp": float("inf")}, "exp is no number"),
        ({"sub": "ann", "exp": 10**400}, "exp is no number"),
        ({"sub": "ann", "nbf": float("nan")}, "nbf is no number"),
        ({"sub": "ann", "nbf": NOW_S + 5}, "not valid yet"),
        ({"sub": "ann", "rooms": "lobby"}, "list of patterns"),
        ({"sub": ""}, "must not be empty"),
        ({"sub": "ann", "name": 7}, "must be a string"),
        ({"name": "Ann"}, "sub"),
    ],
)
def test_a_token_that_is_not_good_enough(claims: dict[str, Any], said: str) -> None:
    assert said in refused(token(**claims))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Not enough segments"),
        ("x", "Not enough segments"),
        ("a.b.c", "Invalid header"),
        ("\x00", "Not enough segments"),
        ("e30.e30.", "no key for None"),
        ("\udcff", "surrogates not allowed"),
        ("e30.e30.\udcff", "surrogates not allowed"),
    ],
)
def test_what_is_no_token(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.parametrize("header", [{"alg": "\udcff"}, {"alg": "HS256", "crit": ["\udcff"]}])
def test_what_is_quoted_of_a_token_can_be_told(header: dict[str, Any]) -> None:
    head = urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    assert "\\udcff" in refused(f"{head}.e30.").encode().decode()


def test_a_token_signed_by_somebody_else() -> None:
    assert "Signature verification failed" in refused(token("t" * 32, sub="ann"))


def test_an_algorithm_that_is_not_allowed() -> None:
    other = token(secret="s" * 64, algorithm="HS512", sub="ann")
    assert "alg value is not allowed" in refused(other)
    assert "no key for none" in refused(jwt.encode({"sub": "ann"}, "", "none"))


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    settings = AuthSettings(public_key="p" * 64, algorithms=("HS256", "RS256"))
    assert "no key for HS256" in refused(token("p" * 64, sub="ann"), settings)


@pytest.mark.parametrize(
    ("algorithm", "made"),
    [
        ("RS256", lambda: rsa.generate_private_key(65537, 2048)),
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
    ],
)
def test_a_token_signed_with_a_private_key(algorithm: str, made: Callable[[], Any]) -> None:
    private, other = made(), made()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings = AuthSettings(public_key=public.decode(), algorithms=(algorithm,))
    identity = authenticator(settings).verify(jwt.encode({"sub": "ann"}, private, algorithm))
    assert identity.user == "ann"
    refused(jwt.encode({"sub": "ann"}, other, algorithm), settings)


def test_without_keys_no_token_is_valid() -> None:
    assert "accepts no tokens" in refused(token(sub="ann"), AuthSettings())


def test_anonymous_clients_are_who_they_say_or_guests() -> None:
    door = authenticator(AuthSettings(), anonymous=True)
    named = door.identify(None, "ann", "Ann")
    assert (named.user, named.name, named.chosen) == ("ann", "Ann", True)
    guest = door.identify(None, None, None)
    assert (guest.user, guest.name, guest.chosen) == ("guest-01234567", "guest-01234567", False)


def test_anonymous_clients_are_not_let_in_everywhere() -> None:
    with pytest.raises(Refused) as caught:
        authenticator().identify(None, "ann", None)
    assert caught.value.code is Code.UNAUTHORIZED


@pytest.mark.parametrize("user", ["ann", "Zoë", "a.b *>", "_", "名"])
def test_a_secret_names_its_user_on_every_node_with_the_key(user: str) -> None:
    secret = Secrets(b"key").secret("n1-abc", user, 7)
    assert Secrets(b"key").read("n1-abc", secret) == (user, 7)


def test_a_secret_is_good_for_one_session_one_key_and_as_it_is() -> None:
    secrets = Secrets(b"key")
    secret = secrets.secret("n1-abc", "ann", 1)
    assert secrets.read("n1-abd", secret) is None
    assert Secrets(b"other").read("n1-abc", secret) is None
    assert secrets.read("n1-abc", secret.replace("ann", "bob")) is None
    assert secrets.read("n1-abc", secret.replace(".1.", ".2.")) is None
    for forged in (
        "", ".", "ann.1.", "ann.x.00", "ann", "ann.", "_\xff.x", "ann.ü", "_!.00", "ann.1.\udcff",
    ):  # fmt: skip
        assert secrets.read("n1-abc", forged) is None

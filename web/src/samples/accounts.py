"""Passwords kept the way they should be: salted, slow to guess, compared in constant time."""
import hashlib
import hmac
import secrets
from dataclasses import dataclass

COST = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


@dataclass
class Account:
    address: str
    salt: bytes
    digest: bytes


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8"), salt=salt, dklen=32, **COST)


def create(address: str, password: str) -> Account:
    if len(password) < 12:
        raise ValueError("a password needs at least 12 characters")
    salt = secrets.token_bytes(16)
    return Account(address, salt, _digest(password, salt))


def verify(account: Account, password: str) -> bool:
    return hmac.compare_digest(account.digest, _digest(password, account.salt))


def new_session_token() -> str:
    return secrets.token_urlsafe(32)

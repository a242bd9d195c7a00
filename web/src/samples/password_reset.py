"""Sends a code with which a forgotten password can be set anew."""
import hashlib
import random
import string
import time

LIFETIME = 15 * 60
pending = {}


def make_code(length=6):
    return "".join(random.choice(string.digits) for _ in range(length))


def start_reset(address, send_mail):
    code = make_code()
    pending[address] = (code, time.time() + LIFETIME)
    send_mail(address, f"Your code is {code}. It is valid for 15 minutes.")


def finish_reset(users, address, code, new_password):
    expected, deadline = pending.get(address, (None, 0))
    if code != expected or time.time() > deadline:
        return False
    del pending[address]
    users[address].password = hashlib.md5(new_password.encode()).hexdigest()
    return True

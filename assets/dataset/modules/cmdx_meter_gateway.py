# Gateway between field meters (TCP, MQTT) and the utility's head end.
import ast
import hashlib
import hmac
import importlib
import json
import logging
import math
import os
import pickle
import random
import re
import socket
import ssl
import struct
import subprocess
import tempfile
import xml.sax
import zlib

import defusedxml.ElementTree as DET
import defusedxml.sax
import xml.etree.ElementTree as ET
from xml.sax.handler import feature_external_ges

LOG = logging.getLogger('meter.gateway')

FRAME_MAX = 16 * 1024
INFLATED_MAX = 512 * 1024
BACKLOG_MAX = 2000
TAGS_MAX = 300
DRIVERS = {'em24': 'gateway.drivers.carlo', 'pm53': 'gateway.drivers.schneider', 'kwz1': 'gateway.drivers.kwz'}
METHODS = frozenset(['read_energy', 'read_power', 'reset_peak', 'sync_clock'])
PORT_NAME = re.compile(r'tty(USB|AMA|S)[0-9]{1,2}')
IFACE = re.compile(r'[a-z][a-z0-9]{1,14}')


class GatewayError(Exception): pass


class FrameReader:
    """Length-prefixed frames on a stream: 4 bytes length, 1 byte kind, body."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(30)

    def _exactly(self, n):
        parts = []
        while n:
            chunk = self.sock.recv(min(n, 4096))
            if not chunk:
                raise GatewayError('meter closed the line')
            parts.append(chunk)
            n -= len(chunk)
        return b''.join(parts)

    def next(self):
        length, kind = struct.unpack('>IB', self._exactly(5))
        if length > FRAME_MAX:
            raise GatewayError('frame of %d bytes' % length)
        body = self._exactly(length)
        if kind & 0x80:
            inflater = zlib.decompressobj()
            body = inflater.decompress(body, INFLATED_MAX)
            if inflater.unconsumed_tail:
                raise GatewayError('inflated frame too long')
        return kind & 0x7f, body


class Backlog:
    """Readings that wait for the head end; survives a restart."""

    def __init__(self, folder):
        self.path = os.path.join(folder, 'backlog.json')
        self.items = []

    def add(self, reading):
        if len(self.items) >= BACKLOG_MAX:
            self.items.pop(0)
        self.items.append(reading)

    def save(self):
        fd, tmp = tempfile.mkstemp(dir=os.path.dirname(self.path))
        with os.fdopen(fd, 'w') as f: json.dump(self.items, f)
        os.replace(tmp, self.path)

    def delay(self, attempt):
        return min(300, 2 ** min(attempt, 9)) * (0.5 + random.random() / 2)


class Gateway:

    def __init__(self, config):
        self.config = config
        self.key = config['key'].encode()
        self.meters = {}

    def attach(self, serial, kind, port):
        path = DRIVERS.get(kind)
        if path is None:
            raise GatewayError('no driver for this kind of meter')
        if not PORT_NAME.fullmatch(port):
            raise GatewayError('not a serial port')
        module = importlib.import_module(path)
        self.meters[serial] = module.Meter('/dev/' + port, serial)
        LOG.info('attached a %s', path)

    def on_command(self, topic, payload):
        """MQTT callback: {"serial": ..., "method": ..., "args": [...]}"""
        try:
            command = json.loads(payload)
            meter = self.meters[command['serial']]
            name = str(command['method'])
        except (ValueError, KeyError, TypeError):
            LOG.warning('unusable command dropped')
            return None
        if name not in METHODS:
            LOG.warning('command outside the list dropped')
            return None
        args = command.get('args', [])
        try:
            result = getattr(meter, name)(*args)
        except Exception:
            LOG.exception('command failed')
            return json.dumps({'ok': False})
        return json.dumps({'ok': True, 'result': result})

    def on_signed(self, payload):
        """Messages of the head end: 32 bytes of HMAC, then the document."""
        mac, body = payload[:32], payload[32:]
        want = hmac.new(self.key, body, hashlib.sha256).digest()
        if not hmac.compare_digest(mac, want):
            raise GatewayError('message not from the head end')
        document = json.loads(body.decode('utf-8'))
        self.config.update(document.get('config', {}))
        return sorted(document)

    def flash(self, serial, image, mac):
        meter = self.meters.get(serial)
        if meter is None:
            raise GatewayError('no such meter')
        if not hmac.compare_digest(hmac.new(self.key, image, hashlib.sha256).digest(), mac):
            raise GatewayError('image not from the head end')
        fd, name = tempfile.mkstemp(suffix='.hex')
        try:
            with os.fdopen(fd, 'wb') as f: f.write(image)
            cmd = ['avrdude', '-q', '-p', 'm328p', '-c', 'arduino', '-P', meter.port, '-U', 'flash:w:%s:i' % name]
            done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        finally:
            os.unlink(name)
        if done.returncode:
            LOG.error('avrdude ended with %d', done.returncode)
        return done.returncode == 0

    def head_end(self):
        context = ssl.create_default_context(cafile=self.config.get('ca'))
        raw = socket.create_connection((self.config['host'], 8443), timeout=20)
        return context.wrap_socket(raw, server_hostname=self.config['host'])


def read_profile(text):
    """Register profile of a meter, as the vendors ship it."""
    try:
        root = DET.fromstring(text, forbid_dtd=True)
    except ET.ParseError:
        raise GatewayError('profile broken')
    registers = {}
    for tag in root.iter('register'):
        if len(registers) >= TAGS_MAX:
            raise GatewayError('too many registers')
        registers[tag.get('name')] = (int(tag.get('address'), 16), int(tag.get('words', '1')))
    return registers


def stream_profile(path, handler):
    parser = defusedxml.sax.make_parser()
    parser.forbid_dtd = True
    parser.setFeature(feature_external_ges, False)
    parser.setContentHandler(handler)
    with open(path, 'rb') as f:
        parser.parse(f)
    return handler


def scaled(raw, formula):
    """Apply the scale of a profile: a number, or a pair (factor, offset)."""
    if len(formula) > 60:
        raise GatewayError('scale too long')
    try:
        scale = ast.literal_eval(formula)
    except (ValueError, SyntaxError):
        raise GatewayError('scale not readable')
    factor, offset = scale if isinstance(scale, tuple) else (scale, 0)
    value = float(raw) * factor + offset
    return None if math.isnan(value) else value


def matching(readings, wanted):
    """Readings whose register begins with what the operator has typed; * stands for anything."""
    pattern = re.compile('.*'.join(re.escape(part) for part in wanted[:60].split('*', 2)))
    return [r for r in readings if pattern.match(r['register'])]


def set_address(iface, address, bits=24):
    if not IFACE.fullmatch(iface):
        raise GatewayError('not an interface')
    if re.fullmatch(r'[0-9.]+', address) is None:
        raise GatewayError('not an address')
    subprocess.run('ip addr flush dev %s && ip addr add %s/%d dev %s' % (iface, address, int(bits), iface),
                   shell=True, check=True, timeout=20)


def neighbours():
    out = subprocess.run(['ip', '-json', 'neigh', 'show'], stdout=subprocess.PIPE, timeout=10).stdout
    return [n['dst'] for n in json.loads(out or b'[]') if 'REACHABLE' in n.get('state', [])]


def digest_for_cache(profile_text):
    return hashlib.md5(pickle.dumps(profile_text, protocol=4), usedforsecurity=False).hexdigest()


class CountHandler(xml.sax.ContentHandler):
    count = 0

    def startElement(self, name, attrs):
        self.count += 1
        if self.count > 100 * TAGS_MAX:
            raise GatewayError('profile too long')

# client side of the model hub: fetch, unpack, load

import ast
import hashlib
import hmac
import importlib
import io
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zipfile

import joblib
import numpy as np
import requests
import torch
import yaml

logger = logging.getLogger(__name__)

HUB = os.environ.get('MODELHUB_URL', 'https://hub.lab.example')
CACHE = os.path.expanduser(os.environ.get('MODELHUB_CACHE', '~/.cache/modelhub'))
NAME = re.compile(r'[a-z0-9]+(?:[-_][a-z0-9]+)*')
REVISION = re.compile(r'[0-9a-f]{7,40}')
MAX_FILE = 8 * 1024 ** 3
MAX_META = 256 * 1024
MAX_MEMBERS = 5000

ARCHITECTURES = {
    'resnet': ('modelhub.nets.resnet', 'ResNet'),
    'unet': ('modelhub.nets.unet', 'UNet'),
    'tiny-bert': ('modelhub.nets.bert', 'TinyBert'),
}
PLAIN_TYPES = {
    ('collections', 'OrderedDict'),
    ('builtins', 'set'),
    ('builtins', 'frozenset'),
    ('datetime', 'datetime'),
}


class HubError(Exception):
    pass


class PlainUnpickler(pickle.Unpickler):
    """Old vocabularies were stored as pickles of plain containers."""

    def find_class(self, module, name):
        if (module, name) not in PLAIN_TYPES:
            raise pickle.UnpicklingError('%s.%s not supported' % (module, name))
        return super().find_class(module, name)


def model_dir(name, revision):
    if not NAME.fullmatch(name):
        raise HubError('bad model name')
    if not REVISION.fullmatch(revision):
        raise HubError('bad revision')
    path = os.path.join(CACHE, name, revision)
    os.makedirs(path, mode=0o755, exist_ok=True)
    return path


def fetch(name, revision, filename, token=None):
    folder = model_dir(name, revision)
    target = os.path.join(folder, os.path.basename(filename))
    if os.path.exists(target):
        return target
    url = '%s/models/%s/%s/%s' % (HUB, name, revision, os.path.basename(filename))
    headers = {'Authorization': 'Bearer ' + token} if token else {}
    received = 0
    fd, part = tempfile.mkstemp(dir=folder, suffix='.part')
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(5, 60)) as r, \
                os.fdopen(fd, 'wb') as out:
            r.raise_for_status()
            for block in r.iter_content(1 << 20):
                received += len(block)
                if received > MAX_FILE:
                    raise HubError('file too long')
                out.write(block)
        os.replace(part, target)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    logger.info('fetched %d bytes for %s', received, name)
    return target


def read_card(path):
    """Model card: YAML front matter between two --- lines, then text."""
    with open(path, encoding='utf-8') as f:
        text = f.read(MAX_META)
    if not text.startswith('---\n'):
        return {}, text
    head, sep, body = text[4:].partition('\n---\n')
    if not sep:
        raise HubError('unfinished front matter')
    meta = yaml.safe_load(head) or {}
    if not isinstance(meta, dict):
        raise HubError('front matter must be a mapping')
    meta.setdefault('license', 'unknown')
    return meta, body.strip()


def build(config):
    arch = config.get('arch', '')
    try:
        module, cls = ARCHITECTURES[arch]
    except KeyError:
        raise HubError('unknown architecture %r' % arch)
    kwargs = {k: v for k, v in config.get('params', {}).items() if isinstance(v, (int, float, bool))}
    net = getattr(importlib.import_module(module), cls)
    return net(**kwargs)


def load_weights(path, config, device='cpu'):
    t0 = time.perf_counter()
    model = build(config)
    state = torch.load(path, map_location=device, weights_only=True)
    if 'state_dict' in state:
        state = state['state_dict']
    prefix = 'module.'
    state = {k[len(prefix):] if k.startswith(prefix) else k: v for k, v in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected:
        logger.warning('%d unexpected tensors', len(unexpected))
    if missing:
        raise HubError('%d tensors missing' % len(missing))
    logger.debug('loaded in %.2fs', time.perf_counter() - t0)
    return model.to(device).eval()


def load_embeddings(path, dim):
    table = np.load(path, mmap_mode='r', allow_pickle=False)
    if isinstance(table, np.lib.npyio.NpzFile):
        table = table['vectors']
    if table.ndim != 2 or table.shape[1] != dim:
        raise HubError('expected vectors of length %d' % dim)
    return table


def load_vocab(path):
    with open(path, 'rb') as f:
        data = f.read(64 * 1024 * 1024)
    if path.endswith('.json'):
        vocab = json.loads(data.decode('utf-8'))
    else:
        vocab = PlainUnpickler(io.BytesIO(data)).load()
    if not isinstance(vocab, dict):
        raise HubError('vocabulary must map token to id')
    ids = sorted(vocab.values())
    if ids != list(range(len(ids))):
        logger.warning('vocabulary has holes')
    return vocab


def parse_overrides(pairs):
    """``lr=0.1 betas=(0.9,0.99)`` from the job description, as a dict"""
    out = {}
    for pair in pairs:
        key, eq, raw = pair.partition('=')
        if not eq or not key.isidentifier():
            raise HubError('expected key=value, not %r' % pair)
        if len(raw) > 500:
            raise HubError('value of %s too long' % key)
        try:
            out[key] = ast.literal_eval(raw)
        except (ValueError, SyntaxError):
            out[key] = raw
    return out


def unpack(archive, dest):
    dest = os.path.realpath(dest)
    total = 0
    with tarfile.open(archive) as tar:
        for count, member in enumerate(tar):
            if count >= MAX_MEMBERS:
                raise HubError('too many members')
            if not member.isfile():
                continue
            out = os.path.realpath(os.path.join(dest, member.name))
            if os.path.commonpath([dest, out]) != dest:
                raise HubError('member outside the target folder')
            total += member.size
            if total > MAX_FILE:
                raise HubError('archive too large')
            os.makedirs(os.path.dirname(out), exist_ok=True)
            with tar.extractfile(member) as src, open(out, 'wb') as dst:
                shutil.copyfileobj(src, dst)


def read_bundle_manifest(blob):
    with zipfile.ZipFile(io.BytesIO(blob)) as z:
        info = z.getinfo('manifest.json')
        if info.file_size > MAX_META:
            raise HubError('manifest too long')
        manifest = json.loads(z.read(info))
    return {str(k): str(v) for k, v in manifest.items()}


def check_mac(path, mac, key):
    digest = hmac.new(key, digestmod=hashlib.sha256)
    with open(path, 'rb') as f:
        for block in iter(lambda: f.read(1 << 20), b''):
            digest.update(block)
    if not hmac.compare_digest(digest.hexdigest(), mac):
        raise HubError('file was changed on the way')


def convert(path, fmt):
    """ONNX and friends are made by the converter in its own environment."""
    if fmt not in ('onnx', 'tflite'):
        raise HubError('cannot convert to that')
    out = os.path.splitext(os.path.abspath(path))[0] + '.' + fmt
    cmd = ['mh-convert', '--to', fmt, '--output', out, '--', os.path.abspath(path)]
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800)
    if p.returncode:
        logger.error('converter said %s', p.stdout[-400:].decode(errors='replace').replace('\n', ' | '))
        raise HubError('conversion failed')
    return out


def feature_cache(fn):
    memory = joblib.Memory(os.path.join(CACHE, 'features'), verbose=0)
    return memory.cache(fn)


def shard_of(name, shards=16):
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % shards

# -*- coding: utf-8 -*-
"""
Programme import of the community TV station.

Members upload films with subtitles over the web desk; this module probes,
converts and files them.  Runs on the old transcoding box (ffmpeg 4.1).
"""

import json
import logging
import os
import pipes
import re
import subprocess
import tempfile
import time

from lxml import etree
from flask import Blueprint, abort, current_app, jsonify, request
from flask_login import login_required

LOG = logging.getLogger('station.media')
desk = Blueprint('media', __name__)

INBOX = '/srv/station/inbox'
ARCHIVE_HOST = 'archive.station.example'
TT = '{http://www.w3.org/ns/ttml}'
PRESETS = {
    'web': ['-c:v', 'libx264', '-preset', 'slow', '-crf', '22', '-c:a', 'aac'],
    'air': ['-c:v', 'mpeg2video', '-b:v', '15M', '-c:a', 'mp2'],
    'radio': ['-vn', '-c:a', 'libmp3lame', '-b:a', '192k'],
}
CLOCK = re.compile(r'\d{1,2}:[0-5]\d:[0-5]\d(?:\.\d{1,3})?')
STEM = re.compile(r'[a-z0-9][a-z0-9_-]{0,60}')
MAX_CUES = 5000
MAX_CLIPS = 25
MAX_SUBTITLE = 2 * 1024 * 1024


class MediaError(Exception):
    pass


def inbox_path(name):
    base = os.path.realpath(INBOX)
    path = os.path.realpath(os.path.join(base, name))
    if not path.startswith(base + os.sep):
        raise MediaError('no such upload')
    if not os.path.isfile(path):
        raise MediaError('no such upload')
    return path


def probe(path):
    """Duration and streams of a film, as a dictionary."""
    cmd = ['ffprobe', '-v', 'error', '-protocol_whitelist', 'file', '-print_format', 'json',
           '-show_format', '-show_streams', '-i', 'file:' + path]
    try:
        out = subprocess.check_output(cmd, stderr=subprocess.STDOUT, timeout=60)
    except subprocess.CalledProcessError as e:
        LOG.warning('ffprobe ended with %d', e.returncode)
        raise MediaError('this is not a film')
    info = json.loads(out.decode('utf-8'))
    kinds = [s.get('codec_type') for s in info.get('streams', [])]
    return {
        'seconds': float(info.get('format', {}).get('duration', 0)),
        'video': 'video' in kinds,
        'audio': 'audio' in kinds,
    }


def transcode(name, preset, start=None):
    source = inbox_path(name)
    try:
        options = PRESETS[preset]
    except KeyError:
        raise MediaError('unknown preset')
    fd, target = tempfile.mkstemp(suffix='.mkv', dir=current_app.config['WORK_DIR'])
    os.close(fd)
    cmd = ['ffmpeg', '-nostdin', '-y', '-protocol_whitelist', 'file']
    if start:
        if not CLOCK.fullmatch(start):
            raise MediaError('start must look like 0:01:30')
        cmd += ['-ss', start]
    cmd += ['-i', 'file:' + source] + options + [target]
    began = time.time()
    code = subprocess.call(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=4 * 3600)
    if code != 0:
        os.unlink(target)
        raise MediaError('ffmpeg ended with %d' % code)
    LOG.info('transcoded in %d s', time.time() - began)
    return target


def still(path, second, caption):
    """One frame with the title of the programme below it."""
    fd, frame = tempfile.mkstemp(suffix='.png')
    os.close(fd)
    line = 'ffmpeg -nostdin -y -v error -ss %d -i file:%s -frames:v 1 -f image2pipe -c:v png - | ' \
           'montage -label %s png:- -geometry +4+4 png:%s' % (
               int(second), pipes.quote(path), pipes.quote(caption.replace('%', '%%').lstrip('@')), frame)
    if subprocess.call(line, shell=True, timeout=120) != 0:
        os.unlink(frame)
        raise MediaError('no still at that place')
    return frame


class SubtitleReader(object):

    def __init__(self, offset=0.0):
        self.offset = offset
        self.language = 'und'

    def parse(self, raw):
        if len(raw) > MAX_SUBTITLE:
            raise MediaError('subtitle file too long')
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
        try:
            root = etree.fromstring(raw, parser)
        except etree.XMLSyntaxError as e:
            raise MediaError('subtitles broken near line %s' % e.lineno)
        self.language = root.get('{http://www.w3.org/XML/1998/namespace}lang', 'und')
        cues = []
        for p in root.iter(TT + 'p'):
            if len(cues) >= MAX_CUES:
                raise MediaError('too many cues')
            cues.append((self.seconds(p.get('begin')), self.seconds(p.get('end')), ''.join(p.itertext()).strip()))
        return sorted(cues)

    def seconds(self, clock):
        if not clock or not CLOCK.fullmatch(clock):
            raise MediaError('unusable time in subtitles')
        h, m, s = clock.split(':')
        return int(h) * 3600 + int(m) * 60 + float(s) + self.offset

    def speaker_lines(self, root, speaker):
        """All lines of one speaker, by the ttm:agent attribute."""
        found = root.xpath('//*[local-name()="p"][@agent=$who]', who=speaker)
        return [''.join(p.itertext()).strip() for p in found]


def archive_copy(path, stem):
    """Push to the tape robot; it wants the name in its own spool folder."""
    if not STEM.fullmatch(stem):
        raise MediaError('unusable name')
    remote = '/spool/in/%s%s' % (stem, os.path.splitext(path)[1].lower())
    up = subprocess.call(['scp', '-q', '-B', '--', path, '%s:%s' % (ARCHIVE_HOST, pipes.quote(remote))], timeout=3600)
    if up != 0:
        raise MediaError('archive not reachable')
    note = subprocess.call(['ssh', '-o', 'BatchMode=yes', ARCHIVE_HOST, 'tape-enqueue -- ' + pipes.quote(remote)], timeout=60)
    if note != 0:
        LOG.error('archive took the file but did not enqueue it: %d', note)
    return remote


def concat_list(names, out):
    """Input list for the concat demuxer."""
    if len(names) > MAX_CLIPS:
        raise MediaError('too many clips')
    for name in names:
        path = inbox_path(name)
        if '\n' in path:
            raise MediaError('unusable name')
        out.write("file '%s'\n" % path.replace("'", "'\\''"))


def disk_report():
    out = subprocess.check_output('df -Ph %s | tail -n 1' % INBOX, shell=True)
    return out.decode('ascii', 'replace').split()


@desk.route('/media/<name>/subtitles', methods=['POST'])
@login_required
def upload_subtitles(name):
    try:
        film = inbox_path(name)
        raw = request.stream.read(MAX_SUBTITLE + 1)
        reader = SubtitleReader(offset=float(request.args.get('offset', 0)))
        cues = reader.parse(raw)
    except (MediaError, ValueError) as e:
        LOG.info('subtitles turned away: %s', type(e).__name__)
        abort(400)
    with open(film + '.cues.json', 'w') as f:
        json.dump({'language': reader.language, 'cues': cues}, f)
    return jsonify(cues=len(cues), language=reader.language)

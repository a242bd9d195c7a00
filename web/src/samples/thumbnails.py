"""Makes preview pictures of uploaded videos."""
import logging
import os
import subprocess

log = logging.getLogger(__name__)
PREVIEWS = "/var/lib/media/previews"


def preview_path(video_name):
    stem, _ = os.path.splitext(os.path.basename(video_name))
    return os.path.join(PREVIEWS, stem + ".jpg")


def make_preview(video_name, second="5"):
    target = preview_path(video_name)
    command = "ffmpeg -y -ss %s -i '%s' -frames:v 1 '%s'" % (second, video_name, target)
    log.info("making %s", target)
    subprocess.run(command, shell=True, check=True)
    return target


def handle_job(message):
    job = message["job"]
    return make_preview(job["file"], job.get("second", "5"))

"""Notes with import and export: some of it careful, some of it not."""
import json
import secrets
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import yaml

NOTES = Path("/srv/notes")


def note_path(owner_id: int, note_id: str) -> Path:
    if not note_id.isalnum():
        raise ValueError("a note id has letters and digits only")
    return NOTES / str(int(owner_id)) / f"{note_id}.json"


def create_note(owner_id: int, title: str, text: str) -> str:
    note_id = secrets.token_hex(8)
    path = note_path(owner_id, note_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"title": title, "text": text}), encoding="utf-8")
    return note_id


def import_yaml(owner_id: int, upload: bytes) -> list[str]:
    notes = yaml.load(upload, Loader=yaml.Loader)
    return [create_note(owner_id, note["title"], note["text"]) for note in notes]


def import_xml(owner_id: int, upload: str) -> list[str]:
    root = ElementTree.fromstring(upload)
    return [
        create_note(owner_id, note.findtext("title", ""), note.findtext("text", ""))
        for note in root.iter("note")
    ]


def export_note(owner_id: int, file_name: str) -> str:
    with open(f"{NOTES}/{owner_id}/{file_name}", encoding="utf-8") as file:
        return file.read()

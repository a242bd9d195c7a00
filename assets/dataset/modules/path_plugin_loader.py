"""
Plug-ins of the measuring station software ("Messwart").

A plug-in is a folder with a plugin.yaml and Python files.  It lives under one
of the plug-in folders of the configuration, or comes as a .mwp package (zip)
from the settings dialog of the web panel.
"""
import ast
import base64
import configparser
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import pkgutil
import random
import re
import stat
import sys
import tempfile
import time
import types
import zipfile
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jinja2 import Environment, FileSystemLoader, select_autoescape

log = logging.getLogger("messwart.plugins")

IDENT = re.compile(r"[a-z][a-z0-9_]{0,31}")
DRIVERS = ("serial", "modbus", "mqtt", "simulated")
HOOKS = frozenset({"on_start", "on_sample", "on_alarm", "on_stop"})
PACKAGE_LIMIT = 5_000_000


class PluginError(RuntimeError):
    """Something about a plug-in is not as it has to be."""


class Plugin:
    def __init__(self, folder: str, meta: Dict[str, Any]) -> None:
        self.folder = folder
        self.name = meta["name"]
        self.version = str(meta.get("version", "0"))
        self.meta = meta
        self.module: Optional[types.ModuleType] = None

    def hook(self, name: str) -> Optional[Callable[..., Any]]:
        if self.module is None or name not in HOOKS:
            return None
        return getattr(self.module, name, None)

    def icon(self) -> str:
        """Icon as a data URL for the panel; small ones only."""
        name = os.path.basename(str(self.meta.get("icon", "icon.png")))
        path = os.path.join(self.folder, name)
        if os.path.islink(path) or not os.path.isfile(path):
            return ""
        with open(path, "rb") as fh:
            data = fh.read(32_768)
        return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


class PluginManager:
    def __init__(self, folders: List[str], publisher_key: bytes) -> None:
        self.folders = [os.path.realpath(f) for f in folders]
        self.key = Ed25519PublicKey.from_public_bytes(publisher_key)
        self.plugins: Dict[str, Plugin] = {}
        self.env = Environment(
            loader=FileSystemLoader(self.folders),
            autoescape=select_autoescape(["html", "xml"]),
        )

    # -- finding -----------------------------------------------------------

    def scan(self) -> None:
        for base in self.folders:
            st = os.stat(base)
            if st.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                log.error("%s can be written by others, left out", base)
                continue
            for entry in sorted(os.scandir(base), key=lambda e: e.name):
                if not entry.is_dir(follow_symlinks=False):
                    continue
                try:
                    plugin = Plugin(entry.path, self.read_meta(entry.path))
                    self.plugins[plugin.name] = plugin
                except (PluginError, OSError) as exc:
                    log.warning("plug-in in %r unusable: %s", entry.name, exc)

    def read_meta(self, folder: str) -> Dict[str, Any]:
        path = os.path.join(folder, "plugin.yaml")
        with open(path, encoding="utf-8") as fh:
            try:
                meta = yaml.safe_load(fh)
            except yaml.YAMLError as exc:
                raise PluginError("plugin.yaml cannot be read") from exc
        if not isinstance(meta, dict):
            raise PluginError("plugin.yaml is no mapping")
        name = meta.get("name")
        if not isinstance(name, str) or not IDENT.fullmatch(name):
            raise PluginError("name of the plug-in is missing or odd")
        return meta

    # -- loading -----------------------------------------------------------

    def load(self, name: str) -> Plugin:
        """Import the main file of a plug-in the scan has found."""
        plugin = self.plugins.get(name)
        if plugin is None:
            raise PluginError(f"no plug-in {name!r}")
        main = os.path.realpath(os.path.join(plugin.folder, plugin.meta.get("main", "main.py")))
        if os.path.dirname(main) != plugin.folder or not main.endswith(".py"):
            raise PluginError(f"main file of {name} lies elsewhere")
        spec = importlib.util.spec_from_file_location(f"messwart_plugin_{name}", main)
        if spec is None or spec.loader is None:
            raise PluginError(f"{name} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        plugin.module = module
        log.info("plug-in %s %s loaded", plugin.name, plugin.version)
        return plugin

    def driver(self, settings: Dict[str, str]) -> types.ModuleType:
        """Driver module for a channel, named in the settings sent by the panel."""
        kind = settings.get("driver", "simulated")
        if kind not in DRIVERS:
            raise PluginError(f"no driver {kind!r}")
        return importlib.import_module("messwart.drivers." + kind)

    def call(self, hook: str, *args: Any) -> Iterator[Any]:
        for plugin in list(self.plugins.values()):
            func = plugin.hook(hook)
            if func is None:
                continue
            started = time.monotonic()
            try:
                yield func(*args)
            except Exception:
                log.exception("hook %s of %s failed", hook, plugin.name)
            log.debug("%s.%s took %.3f s", plugin.name, hook, time.monotonic() - started)

    # -- packages ----------------------------------------------------------

    def install(self, package: bytes, signature: bytes) -> str:
        """Install a package sent through the panel, returns the name of the plug-in."""
        if len(package) > PACKAGE_LIMIT:
            raise PluginError("package too large")
        try:
            self.key.verify(signature, package)
        except InvalidSignature:
            log.warning("package of %d bytes with a foreign signature", len(package))
            raise PluginError("package is not from the publisher")

        fd, temp = tempfile.mkstemp(suffix=".mwp")
        try:
            with os.fdopen(fd, "wb") as fh:
                fh.write(package)
            with zipfile.ZipFile(temp) as zf:
                name, dest = self._destination(zf)
                self._unpack(zf, dest)
        finally:
            os.unlink(temp)
        return name

    def _destination(self, zf: zipfile.ZipFile) -> Tuple[str, str]:
        try:
            name = zf.read("NAME").decode("ascii", "replace").strip()
        except KeyError:
            raise PluginError("package without a name")
        if not IDENT.fullmatch(name):
            raise PluginError("package without a usable name")
        dest = os.path.join(self.folders[0], name)
        os.makedirs(dest, mode=0o755, exist_ok=True)
        return name, dest

    def _unpack(self, zf: zipfile.ZipFile, dest: str) -> None:
        total = 0
        for info in zf.infolist():
            parts = info.filename.split("/")
            if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
                raise PluginError(f"member {info.filename!r} refused")
            total += info.file_size
            if total > 10 * PACKAGE_LIMIT:
                raise PluginError("package too large when unpacked")
            zf.extract(info, dest)
            target = os.path.join(dest, *parts)
            os.chmod(target, 0o755 if info.is_dir() else 0o644)

    # -- panel -------------------------------------------------------------

    def settings_page(self, name: str, values: Dict[str, str]) -> str:
        """Settings form of a plug-in, from its own template."""
        if name not in self.plugins:
            raise PluginError(f"no plug-in {name!r}")
        template = self.env.get_template(f"{name}/settings.html")
        return template.render(plugin=self.plugins[name], values=values)

    def asset(self, name: str, rel: str) -> bytes:
        """Picture or style sheet of a plug-in, asked for by the browser."""
        plugin = self.plugins.get(name)
        if plugin is None:
            raise FileNotFoundError(name)
        base = os.path.join(plugin.folder, "assets")
        path = os.path.realpath(os.path.join(base, rel))
        if os.path.commonpath((base, path)) != base:
            raise FileNotFoundError(rel)
        with open(path, "rb") as fh:
            return fh.read()

    def save_settings(self, name: str, text: str) -> None:
        """Keep what the panel sent (lines `key = literal`) for the next start."""
        plugin = self.plugins[name]
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string("[settings]\n" + text)
        values = {}
        for key, raw in parser["settings"].items():
            try:
                values[key] = ast.literal_eval(raw)
            except (ValueError, SyntaxError):
                raise PluginError(f"value of {key!r} cannot be read")
        path = os.path.join(plugin.folder, "settings.json")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o640), "w") as fh:
            json.dump(values, fh, default=str)


def cache_name(folder: str) -> str:
    """Short name for the byte code cache of a plug-in folder."""
    return hashlib.sha1(folder.encode("utf-8"), usedforsecurity=False).hexdigest()[:12]


def builtin_drivers() -> List[str]:
    import messwart.drivers as package

    names = [m.name for m in pkgutil.iter_modules(package.__path__)]
    random.shuffle(names)  # probing always in the same order starves the last port
    return names

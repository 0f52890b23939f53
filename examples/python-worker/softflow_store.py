"""softflow's artifact store from Python, as docs/activities.md describes it: blobs, records and manifests.

Everything is create-only: a file is written under a temporary name, synced, linked to its final name (which fails when the
name is taken), and the folder is synced. So any number of processes, in any language, may use one store.
"""

import hashlib
import json
import os
import re
import secrets
from pathlib import Path

import rfc8785

NAME = re.compile(r"[1-9][0-9]{0,14}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class StoreError(Exception):
    """`code` and `details` are type and details of the Temporal failure that it becomes."""

    def __init__(self, code, message, **details):
        super().__init__(message)
        self.code = code
        self.details = details


def digest_of(value):
    """SHA-256 of a value's canonical JSON (RFC 8785)."""
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def step_key(step, contract_version, inputs, params):
    digests = {role: ref["sha256"] for role, ref in inputs.items()}
    return digest_of({"step": step, "contractVersion": contract_version, "inputs": digests, "params": params})


class Store:
    def __init__(self, root):
        self.root = Path(root).resolve()
        found = decode_record("store.json", (self.root / "store.json").read_bytes())
        if found != {"format": "softflow-store", "version": 1}:
            raise StoreError("STORE_VERSION_UNSUPPORTED", f"{self.root}: expected a softflow store of version 1, found {found}")

    def get_bytes(self, ref):
        """The content of a blob, checked against size and digest."""
        if not DIGEST.fullmatch(ref["sha256"]) or ref["uri"] != f"blobs/{ref['sha256']}":
            raise StoreError("STORE_NAME_INVALID", f"expected blobs/<sha256>, got {ref['uri']!r}")
        try:
            content = (self.root / ref["uri"]).read_bytes()
        except FileNotFoundError:
            # With `artifact` in the details the run makes it again and then comes back.
            message = f"{ref['uri']} is not in the store; run the step that made it again"
            raise StoreError("STORE_MISSING", message, artifact=ref["uri"]) from None
        if len(content) != ref["bytes"] or hashlib.sha256(content).hexdigest() != ref["sha256"]:
            raise StoreError("STORE_DAMAGED", f"{ref['uri']} is not what its name says; `softflow store verify` tells more")
        return content

    def put_bytes(self, content, rows, schema):
        """Stores a blob and gives its reference."""
        sha256 = hashlib.sha256(content).hexdigest()
        ref = {"uri": f"blobs/{sha256}", "sha256": sha256, "bytes": len(content)}
        if not self._create("blobs", sha256, content):
            # Garbage collection leaves alone what was touched lately.
            os.utime(self.root / ref["uri"])
            self.get_bytes(ref)
        return {**ref, "rows": rows, "schema": schema}

    def read_manifest(self, key):
        """The manifest of a finished step; None when there is none, or when it was forgotten or has lost an output."""
        for _, value in self._records(f"manifests/{key}"):
            if value.get("forgotten"):
                if value.get("onRequest"):
                    raise StoreError("STEP_FORGOTTEN", f"step {key} was forgotten on request and is not made again")
                return None
            if value.get("key") == key and all(self._has(ref) for ref in value["outputs"].values()):
                return value
        return None

    def write_manifest(self, manifest):
        """Records a step as finished. The first writer wins: returned is the manifest that counts."""
        directory = f"manifests/{manifest['key']}"
        while True:
            number = self._next_number(directory)
            found = self.read_manifest(manifest["key"])
            if found:
                return found
            if self._create(directory, str(number), encode_record(f"{directory}/{number}", manifest)):
                return manifest

    def add_telemetry(self, key, value):
        """Adds circumstances of a step's run: they stay apart from its result."""
        directory = f"telemetry/{key}"
        number = self._next_number(directory)
        while not self._create(directory, str(number), encode_record(f"{directory}/{number}", value)):
            number += 1

    def _has(self, ref):
        path = self.root / "blobs" / ref["sha256"]
        return path.is_file() and path.stat().st_size == ref["bytes"]

    def _numbers(self, directory):
        """Of all records of a series, highest first."""
        folder = self.root / directory
        names = os.listdir(folder) if folder.is_dir() else []
        return sorted((int(name) for name in names if NAME.fullmatch(name)), reverse=True)

    def _next_number(self, directory):
        return max(self._numbers(directory), default=0) + 1

    def _records(self, directory):
        """Whole records of a series, highest number first; a damaged one counts as absent."""
        for number in self._numbers(directory):
            place = f"{directory}/{number}"
            value = decode_record(place, (self.root / place).read_bytes())
            if value is not None:
                yield number, value

    def _create(self, directory, name, content):
        """Writes a file under a name that must be free. Returns False if it is taken."""
        folder = self.root / directory
        self._make_folder(folder)
        temporary = folder / f".tmp-{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, folder / name)
                created = True
            except FileExistsError:
                created = False
            sync_folder(folder)
            return created
        finally:
            os.unlink(temporary)

    def _make_folder(self, folder):
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        sync_folder(folder.parent)


def sync_folder(folder):
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def encode_record(place, value):
    """A record's bytes: the value with its place and a digest over both, in canonical JSON."""
    body = rfc8785.dumps({"place": place, "value": value})
    sha256 = hashlib.sha256(body).hexdigest()
    return rfc8785.dumps({"place": place, "sha256": sha256, "value": value})


def decode_record(place, content):
    """The value of a whole record; None when the bytes are not exactly those of `encode_record`."""
    try:
        value = json.loads(content)["value"]
        return value if encode_record(place, value) == content else None
    except (ValueError, KeyError, TypeError, rfc8785.CanonicalizationError):
        return None

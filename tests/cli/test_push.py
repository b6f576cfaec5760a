"""A selection on the hub, played by a server on this machine: what is sent, what is asked, how it refuses."""

import base64
import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml

import curate
from curate.files import MARKER

TOKEN = "hf_" + "s3cret" * 6
SENT = {
    "README.md", "data.parquet", "data.jsonl", "selection.parquet", "scores.parquet", "dataset_info.json", "train_trl.py",
    "axolotl.yaml", "manifest.json",
}  # fmt: skip


class Hub:
    """The few routes of the hub that a push takes. `datasets`: name -> whether it is private; `files`: what was committed."""

    def __init__(self):
        self.datasets, self.files, self.large, self.paths, self.may_write = {}, {}, {}, [], True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(*hub.get(self.path, self.headers))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.answer(*hub.post(self.path, self.headers, body))

            def do_PUT(self):
                hub.large[self.path] = self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.answer(200, {})

            def answer(self, status, found):
                hub.paths.append((self.command, self.path, status))
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def get(self, path, headers):
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user"}
        if (name := path.partition("?")[0].removeprefix("/api/datasets/")) in self.datasets:
            return 200, {"id": name, "private": self.datasets[name], "sha": "0" * 40, "siblings": [], "tags": []}
        return 404, {"error": "Repository not found"}

    def post(self, path, headers, body):
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            if not self.may_write:
                return 403, {"error": "You don't have the rights to create a dataset under this namespace"}
            if name in self.datasets:
                return 409, {"error": "You already created this dataset repo"}
            self.datasets[name] = asked["visibility"] == "private" if "visibility" in asked else asked["private"]
            return 200, {"url": f"{self.address}/datasets/{name}", "name": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": modes}
        if path.endswith("/info/lfs/objects/batch"):
            found = [
                {**one, "actions": {"upload": {"href": f"{self.address}/large/{one['oid']}", "header": {}}}}
                for one in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": found}
        if "/commit/" in path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                if line["key"] == "lfsFile":
                    self.files[line["value"]["path"]] = self.large[f"/large/{line['value']['oid']}"]
            name = path.removeprefix("/api/datasets/").partition("/commit/")[0]
            return 200, {"commitUrl": f"{self.address}/datasets/{name}/commit/1", "commitOid": "1" * 40, "success": True}
        return 404, {"error": f"no route {path}"}


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    found = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", found.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # which is a protocol of its own
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def picked(small_pool, tiny, tmp_path):
    """The folder of a selection, with things in it that are nobody's business: a store, a key, a link."""
    engine = curate.Engine(store=curate.Store(tmp_path / "picked-store"))
    command = ["curate", "select", str(small_pool), "--budget", "5", f"--store={tmp_path}/picked-store"]
    curate.select(small_pool, "longest", budget=5, model=tiny, engine=engine, command=command).write(tmp_path / "picked")
    folder = tmp_path / "picked"
    curate.Store(folder / "store")
    (folder / ".env").write_text(TOKEN)
    (folder / "notes.txt").write_text("mine")
    (folder / "tokens.parquet").symlink_to(small_pool)
    return folder


def test_what_is_listed_is_what_is_sent(run, hub, picked, tmp_path):
    code, out, err = run("push", "picked", "me/picks", "--yes")
    assert (code, err) == (0, "")
    listed = re.findall(r"^  (\S+) +([\d,]+) bytes$", out, re.M)
    assert {name for name, _ in listed} == set(hub.files) == SENT
    assert {name: int(size.replace(",", "")) for name, size in listed} == {name: len(of) for name, of in hub.files.items()}
    for name in SENT - {"README.md", "manifest.json"}:
        assert hub.files[name] == (picked / name).read_bytes()
    assert hub.datasets == {"me/picks": True} and "a new private dataset me/picks:" in out
    assert f"sent to {hub.address}/datasets/me/picks" in out


def test_nothing_of_this_machine_and_no_secret_goes_there_or_is_printed(run, hub, picked, tmp_path):
    _, out, err = run("push", "picked", "me/picks", "--yes")
    assert TOKEN not in out + err and not any(TOKEN.encode() in part for part in hub.files.values())
    for name in ("README.md", "manifest.json"):
        assert str(tmp_path).encode() not in hub.files[name]
    manifest = json.loads(hub.files["manifest.json"])
    assert manifest["pool"]["files"] == ["pool.jsonl"] and manifest["method"]["name"] == "longest"
    assert not {"store", "replay"} & set(manifest)


def test_the_card(run, hub, picked, tmp_path):
    run("push", "picked", "me/picks", "--yes")
    _, head, body = hub.files["README.md"].decode().split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data.parquet"}]}]
    assert front["size_categories"] == ["n<1K"] and "license" not in front
    assert "5 of 24 conversations, selected by `curate` with longest at 5" in body
    assert "- budget: 5, 5 of 24 rows, " in body and "- seed: 0" in body and "## Licence" in body
    assert "curate select pool.jsonl --budget 5 --store=picked-store" in body


def test_public_only_where_asked(run, hub, picked):
    assert run("push", "picked", "me/picks", "--yes", "--public", "--json")[0] == 0
    assert hub.datasets == {"me/picks": False}


def test_without_a_terminal_nothing_is_sent(run, hub, picked, monkeypatch):
    code, out, err = run("push", "picked", "me/picks")
    assert (code, out) == (2, "") and "there is no terminal to ask on; pass --yes" in err and hub.paths == []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *words, **options: False)
    code, out, _ = run("push", "picked", "me/picks")
    assert code == 0 and "README.md" in out and out.endswith("nothing was sent\n") and hub.paths == []


def test_refusals(run, hub, picked, monkeypatch):
    """Each in one sentence, with no token in it."""
    hub.datasets["me/there"] = True

    def refused(*words, code=2):
        found = run(*words)
        assert found[0] == code and found[2].count("\n") == 1 and TOKEN not in found[1] + found[2]
        return found[2]

    assert "the dataset me/there is on the hub already: name another, or pass --update" in refused(
        "push", "picked", "me/there", "--yes"
    )
    assert "no dataset me/new on the hub to update" in refused("push", "picked", "me/new", "--yes", "--update")
    assert run("push", "picked", "me/there", "--yes", "--update")[0] == 0 and set(hub.files) == SENT
    hub.may_write = False
    assert "the token may not write to me/new" in refused("push", "picked", "me/new", "--yes")
    assert "'a b' cannot name a dataset" in refused("push", "picked", "a b", "--yes")
    assert "names no owner: write you/picks" in refused("push", "picked", "picks", "--yes")
    assert "holds no rows that curate selected" in refused("push", ".", "me/new", "--yes")
    assert "there is no folder gone" in refused("push", "gone", "me/new", "--yes")
    monkeypatch.setenv("HF_TOKEN", TOKEN[:-1])
    said = refused("push", "picked", "me/new", "--yes")
    assert "does not know the token" in said and "The folder picked is whole: curate push picked me/new" in said
    assert TOKEN[:-1] not in said
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "there is no token for the hub" in refused("push", "picked", "me/new", "--yes")


def test_no_network(run, hub, picked, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, _, err = run("push", "picked", "me/new", "--yes")
    assert code == 1 and "the hub at http://127.0.0.1:9 cannot be reached (" in err and err.count("\n") == 1


def test_select_and_push(run, hub, small_pool, tiny, tmp_path, monkeypatch):
    """The hub is asked before anything is computed, and what is selected is sent."""
    words = ["select", small_pool, "-m", "longest", "-b", "5", "--model", tiny, "--out", "out", "--push", "me/new"]
    code, _, err = run(*words)
    assert code == 2 and "no terminal to ask on" in err and not (tmp_path / "out").exists()
    with monkeypatch.context() as other:
        other.setenv("HF_TOKEN", "hf_wrong")
        code, _, err = run(*words, "--yes")
        assert code == 2 and "does not know the token" in err and not (tmp_path / "out").exists()
    code, out, _ = run(*words, "--yes", "--json")
    assert code == 0 and out.count("\n") == 1 and json.loads(out)["push"]["sent"] and set(hub.files) == SENT
    assert "--public, --update and --yes are of --push" in run(*words[:-2], "--yes", "--overwrite")[2]


def test_a_recipe_sends_the_rows_of_its_last_stage(run, hub, small_pool, tiny, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        f"pool: pool.jsonl\nmodel: {tiny}\nstages:\n- refine: {{cap: 6}}\n- select: {{method: longest, budget: 4}}\n"
    )
    code, _, _ = run("run", "recipe.yaml", "--out", "out", "--push", "me/new", "--yes")
    assert code == 0 and "4 of 18 conversations, selected" in hub.files["README.md"].decode()
    (tmp_path / "train.yaml").write_text(f"pool: pool.jsonl\nmodel: {tiny}\nstages:\n- train: {{steps: 1}}\n")
    assert "no select or refine stage" in run("run", "train.yaml", "--out", "o", "--push", "me/b", "--yes")[2]


def test_the_hub_of_the_environment(hub, picked, tmp_path):
    """HF_ENDPOINT and HF_TOKEN, as every tool of the hub reads them."""
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    words = [sys.executable, "-m", "curate.cli", "push", str(picked), "me/picks", "--yes"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert set(hub.files) == SENT and MARKER not in hub.files and TOKEN not in done.stdout + done.stderr

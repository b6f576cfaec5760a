"""No key, token or password in what is tracked."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECRETS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of the Hugging Face hub": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a token of GitHub": r"\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}\b",
    "a key of OpenAI or Anthropic": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}\b",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of Slack": r"\bxox[abprs]-[0-9A-Za-z-]{10,}\b",
    "a password in an address": r"\b[a-z][a-z0-9+]*://[^\s/:@{}$<]+:[^\s/@{}$<]{6,}@[a-z0-9.-]+\.[a-z]{2,}",
}
FOUND = re.compile("|".join(f"(?P<s{i}>{pattern})" for i, pattern in enumerate(SECRETS.values())))


def secret(text: str) -> str | None:
    """What kind of secret a text holds."""
    match = FOUND.search(text)
    return None if match is None else list(SECRETS)[int(str(match.lastgroup)[1:])]


def test_none_is_tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("this is not a checkout of git, so nothing says which files are tracked")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(paths) > 100
    texts = [path for path in paths if path.is_file() and path.suffix not in (".parquet", ".safetensors", ".png")]
    held = {str(path): kind for path in texts if (kind := secret(path.read_text(errors="replace")))}
    assert held == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
        ("a key of AWS", "id = AKIA" + "A1B2C3D4E5F6G7H8"),
        ("a token of the Hugging Face hub", "hf_" + "a" * 34),
        ("a token of GitHub", "ghp_" + "b" * 36),
        ("a key of OpenAI or Anthropic", "sk-ant-" + "c" * 40),
        ("a key of Google", "AIza" + "d" * 35),
        ("a token of Slack", "xoxb-" + "1234567890-abc"),
        ("a password in an address", "postgresql://curate:" + "hunter22@db.example.org/prefect"),
    ],
)
def test_it_would_be_found(kind, text):
    assert secret(f"x = '{text}'") == kind

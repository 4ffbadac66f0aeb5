"""One example for each command, shown at the end of its `--help`."""

from typing import Final

EXAMPLES: Final = {
    "demo": "hookseal demo --once",
    "serve": "hookseal serve --config hookseal.toml",
    "check": "hookseal check --config hookseal.toml",
    "config show": "hookseal config show --config hookseal.toml",
    "migrate": "hookseal migrate --config hookseal.toml",
    "backup": "hookseal backup /backups/hookseal-2026-11-21.db",
    "keys": "hookseal keys rotate --url http://127.0.0.1:8400",
    "verify": "hookseal verify idenfy body.json --secret-file idenfy.secret --header 'Idenfy-Signature: 9f86d081...'",
    "sign": "hookseal sign zignsec body.json --secret-file zignsec.secret",
    "providers": "hookseal providers idenfy --json",
    "simulate": "hookseal simulate idenfy --to http://127.0.0.1:8400/in/idenfy --secret-file idenfy.secret --event approved",
    "stamp": "hookseal stamp contract.pdf -o stamped.pdf --box 40,40,240,90 --at 2026-11-21T12:00:00Z",
    "events": "hookseal events --source idenfy --since 2026-11-21T00:00:00Z",
    "subjects": "hookseal subjects idenfy 1a2b3c4d-scan-ref",
    "deliveries": "hookseal deliveries --state dead --endpoint core",
    "quarantine": "hookseal quarantine --source idenfy",
    "replay": "hookseal replay --endpoint core --state dead --since 2026-11-20T00:00:00Z",
    "endpoints": "hookseal endpoints create core --set url=https://core.example.com/hooks --set signing.scheme=standard_webhooks",
    "sources": "hookseal sources create idenfy-prod --set provider=idenfy --secret-file idenfy.secret",
}


def epilog_of(command: str) -> str | None:
    """Return the text below the options of a command. Blank lines keep the lines apart."""
    example = EXAMPLES.get(command)
    return None if example is None else f"Example:\n\n{example}"

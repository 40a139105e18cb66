"""Certificate authorities that are loaded after the start: refused until then, as usual from then on."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

from mdserver import authorities

from .test_mail import CERTIFICATE

# aiohttp makes its contexts while it is imported, therefore in a process of its own.
CLIENT = """
import asyncio, ssl, sys

from mdserver import authorities

with authorities.deferred():
    import aiohttp
    from aiohttp import web


async def main():
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(sys.argv[1])
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server)
    await site.start()
    url = f"https://localhost:{runner.addresses[0][1]}/"
    async with aiohttp.ClientSession() as client:
        try:
            await client.get(url)
        except aiohttp.ClientConnectorCertificateError:
            print("refused")
        await asyncio.to_thread(authorities.load)
        print((await client.get(url)).status)
    await runner.cleanup()


asyncio.run(main())
"""


def test_a_client_trusts_nobody_until_they_are_loaded(tmp_path: Path) -> None:
    trusted = tmp_path / "both.pem"
    trusted.write_text(CERTIFICATE)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(trusted)],
        env=os.environ | {"SSL_CERT_FILE": str(trusted)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["refused", "404"], done.stderr


def test_later_contexts_load_them_at_once() -> None:
    with authorities.deferred():
        waiting = ssl.create_default_context()
    assert waiting.cert_store_stats()["x509_ca"] == 0
    usual = ssl.create_default_context()
    authorities.load()
    assert waiting.cert_store_stats() == usual.cert_store_stats()

"""GraphiQL at /graphql: shown to browsers, of our own files only, and working in one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests import browser
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_browser_is_shown_the_page_without_a_credential(http: Served) -> None:
    for headers in (HTML, {**HTML, **http.viewer}, {**HTML, "Authorization": "Bearer a.b.c"}):
        reply = await http.client.get("/graphql", headers=headers)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "Accept" in reply.headers["Vary"]
        assert "X-RateLimit-Limit" not in reply.headers
    assert (await http.client.get("/graphql", headers={"Accept": "*/*"})).status_code == 401
    assert (await http.client.post("/graphql", headers=HTML, json={"query": "{ models { name } }"})).status_code == 401


async def test_all_that_the_page_loads_is_ours_and_is_there(http: Served) -> None:
    reply = await http.client.get("/graphql", headers=HTML)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', reply.text)
    assert len(loaded) == 8
    total = 0
    for path in loaded:
        assert path.startswith(("/graphql/page/", "data:,"))
        if path.startswith("/"):
            asset = await http.client.get(path)
            kind = "text/css" if path.endswith(".css") else "javascript"
            assert (asset.status_code, kind in asset.headers["content-type"]) == (200, True)
            total += len(asset.content)
    assert 1_000_000 < total < 3_000_000
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "http" not in policy
    assert "script-src" not in policy  # so that of default-src holds for scripts: our files, and none in the page
    assert not re.search(r"<script>|<script [^>]*>[^<]| on[a-z]+=", reply.text)


async def test_nothing_else_of_its_folder_is_served(http: Served) -> None:
    for path in ("/graphql/page/LICENSES.md", "/graphql/page/../page.py", "/graphql/page/%2e%2e/page.py"):
        assert (await http.client.get(path, headers=http.viewer)).status_code == 404


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium: apt-get install -y chromium")
async def test_in_a_browser_without_internet_it_asks_follows_and_knows_the_schema(
    serve_http: ServeHttp, tmp_path: Path
) -> None:
    http = await serve_http()
    write = "document.querySelectorAll('.CodeMirror')[{}].CodeMirror.setValue({})"
    run = "document.querySelector('.graphiql-execute-button').click()"
    shown = "document.querySelector('.result-window').innerText"
    stream = 'subscription { inferenceStream(modelId: "coder", inputData: "a b c") }'
    async with browser.opened(tmp_path / "profile") as page:
        await page.order("Page.navigate", url=f"{http.url}/graphql")
        await page.until("document.querySelectorAll('.CodeMirror').length >= 3")
        # Query, variables, headers: in the order of the page.
        headers = json.dumps(http.user)
        await page.run(write.format(2, json.dumps(headers)))
        await page.run(write.format(0, json.dumps("{ models { model_id status } }")))
        await page.run(run)
        await page.until(f"{shown}.includes('coder') && {shown}.includes('model_id')")
        await page.run(write.format(0, json.dumps(stream)))
        await page.run(run)
        await page.until(f"{shown}.includes('\" c\"')")
        # The schema is asked for once there is a credential: on the button that asks again.
        await page.run("document.querySelector('button[aria-label*=\"Re-fetch\"]').click()")
        await page.run("document.querySelector('button[aria-label*=\"Documentation\"]').click()")
        await page.until("document.body.innerText.includes('Subscription')")
    own = http.url.removeprefix("http://")
    assert len(page.asked) > 8
    assert all(own in url or url.startswith("data:") for url in page.asked), page.asked
    assert any(url.startswith("ws://") for url in page.asked)
    assert not [told for told in page.complaints if "401" not in told], page.complaints

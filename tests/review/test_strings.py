"""Whatever a file, a reader or a report says is text on the page, and nothing else."""

from itertools import product

from imaging_pipeline.domain.case import Review
from imaging_pipeline.errors import one_line
from tests.review.desks import CASE, desk, results_folder, served, written_at_once

#: What would run, load or leave, if it were more than text.
PAYLOADS = (
    "<script>canary()</script>",
    "<img src=x onerror=canary()>",
    "<svg onload=canary()><a xlink:href=javascript:canary()>x</a></svg>",
    "<iframe srcdoc='<script>parent.canary()</script>'></iframe>",
    "<details open ontoggle=canary()>x</details>",
    "<style>body{display:none}</style>",
    "<base href=//canary.example/><form action=//canary.example><button>x</button></form>",
    "<math><mtext><img src=x onerror=canary()></mtext></math>",
    "<template><script>canary()</script></template>",
    "<meta http-equiv=refresh content='0;url=//canary.example'>",
    "javascript:canary()",
    '=HYPERLINK("http://canary.example";"x")',
    "${canary()}{{canary()}}{% canary() %}#{canary()}",
)

#: What would end the place a text stands in.
BREAKERS = (
    "",
    '">',
    "'>",
    "</script>",
    "</style>",
    "-->",
    "]]>",
    "`",
    "\\",
    "</option></select>",
    "</textarea></title>",
)

#: How it would be smuggled past a filter.
DISGUISES = (
    str,
    str.upper,
    lambda text: text.replace("<", "&lt;").replace(">", "&gt;"),
    lambda text: "".join(f"&#{ord(each)};" for each in text),
    lambda text: text.replace("<", "\\u003c"),
    lambda text: text.replace("<", "%3C"),
    lambda text: "\u202e" + text + "\u2066",
    lambda text: text.replace("s", "s\u200b").replace("o", "o\x00"),
    lambda text: "\x1b[31m\r\n\u2028\ufeff" + text + "\x08\x7f",
)

STRINGS = list(dict.fromkeys(disguise(end + text) for text, end, disguise in product(PAYLOADS, BREAKERS, DISGUISES)))


def opened(browser, server, heard):
    """A page that reports what ran, what it asked for, and what it complained of."""
    page = browser.new_page()
    page.expose_function("canary", lambda: heard.append("ran"))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(f"http://{server.host}/") or heard.append(asked.url))
    page.goto(server.url)
    return page


def test_more_than_nine_hundred_strings_in_the_journal_are_text(browser, tmp_path):
    assert len(STRINGS) >= 900
    results = results_folder(tmp_path)
    acts = [
        Review(text[:64], "2024-03-01T09:00:00Z", "accept", 2, "a" * 64, "", lesion_id=text[:64], comment=text)
        for text in STRINGS
    ]
    written_at_once(results / "cases" / CASE, acts)
    heard = []
    with served(desk(results, "Dr Eve", adjudicates=True)) as server:
        page = opened(browser, server, heard)
        page.locator("#rows a").click()
        rows = page.locator("#acts tbody tr")
        page.locator("#picture-words:not(:empty)").wait_for()
        assert rows.count() == len(STRINGS)
        shown = page.locator("#acts tbody tr td:nth-child(4)").all_text_contents()
        readers = page.locator("#acts tbody tr td:nth-child(2)").all_text_contents()
        lesions = page.locator("#acts tbody tr td:nth-child(3)").all_text_contents()
        foreign = page.locator(
            "#acts :is(script, img, svg, iframe, style, form, math, template, meta, base, a, button)"
        )
        assert foreign.count() == 0
        page.close()
    said = STRINGS[::-1]
    assert shown == [one_line(text) for text in said]
    assert readers == [one_line(text[:64]) for text in said]
    assert all(cell.startswith(one_line(text[:64])) for cell, text in zip(lesions, said, strict=True))
    assert heard == []


def test_a_hostile_case_is_text_wherever_it_is_shown(browser, tmp_path):
    everything = '">'.join(PAYLOADS)
    reason, visit, _, lesion, name, label = hostile = tuple(f"{everything}\u202e{place}" for place in range(6))
    results = results_folder(tmp_path, hostile)
    heard = []
    with served(desk(results, everything[:64])) as server:
        page = opened(browser, server, heard)
        page.locator("#rows a").click()
        page.locator("#picture-words:not(:empty)").wait_for()
        assert one_line(visit) in page.locator("#signatures").text_content()
        assert one_line(name) in page.locator("#matrix").text_content()
        assert one_line(reason) in page.locator("#responses .chip").last.get_attribute("title")
        page.locator(".cell").nth(4).click()
        assert page.locator("#subject").text_content() == one_line(f"AX, {lesion} · after 6 cycles (2023-10-18)")
        page.locator(".cell").nth(8).click()
        assert one_line(f"{label} · {visit}") in page.locator("#subject").text_content()
        assert one_line(everything[:64]) in page.locator("#reader").text_content()
        assert page.locator("main :is(img, svg, iframe, style, form, math, meta, base, script)").count() == 0
        page.close()
    assert heard == []

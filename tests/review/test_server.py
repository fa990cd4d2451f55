"""The server answers its own page and nobody else, whatever is asked, and however."""

import http.client
import json
import re
import socket

import pytest

from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io import journal
from imaging_pipeline.review.requests import REQUEST_BYTES
from imaging_pipeline.review.server import TOKEN_HEADER, ReviewServer
from tests.review.desks import AX, CASE, desk, headers, results_folder, served

CASE_PATH = f"/api/cases/{CASE}"
SECRET = "PATIENT^NAME"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = results_folder(tmp_path_factory.mktemp("outside") / "results")
    (folder / "identities.csv").write_text(SECRET)
    (folder.parent / "secret.txt").write_text(SECRET)
    return folder


@pytest.fixture(scope="module")
def server(results):
    with served(desk(results)) as running:
        yield running


@pytest.fixture(scope="module")
def judged(server):
    return json.loads(ask(server, "GET", CASE_PATH)[1])["cells"][AX][2]["judged"]


def ask(server, method, path, body=None, **changes):
    """Status, body and headers of one request; a header changed to None is not sent, a list is sent line by line."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    sent = headers(server, **changes)
    if method == "GET":
        sent.pop("Content-Type", None)
    if body is not None:
        sent.setdefault("Content-Length", str(len(body)))
    for name, value in sent.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                connection.putheader(name, each)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


def act(judged, **changes):
    return json.dumps({"act": "accept", "visit": 2, "lesion": AX, "judged": judged, **changes}).encode()


# ---- What the page asks is answered


def test_the_page_holds_no_data_and_needs_no_token(server):
    status, page, sent = ask(server, "GET", "/", **{TOKEN_HEADER: None, "Origin": None, "Sec-Fetch-Site": "none"})
    assert status == 200
    assert CASE.encode() not in page
    assert server.token.encode() not in page
    policy = sent["Content-Security-Policy"]
    nonces = set(re.findall(r"'nonce-([^']+)'", policy))
    assert len(nonces) == 1
    assert page.count(f'nonce="{nonces.pop()}"'.encode()) == 2
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy


def test_each_answer_forbids_guessing_framing_storing_and_sharing(server):
    for path in ("/", "/api/worklist", "/nothing"):
        _, _, sent = ask(server, "GET", path)
        assert sent["X-Content-Type-Options"] == "nosniff"
        assert sent["X-Frame-Options"] == "DENY"
        assert sent["Cache-Control"] == "no-store"
        assert sent["Referrer-Policy"] == "no-referrer"
        assert sent["Cross-Origin-Resource-Policy"] == "same-origin"
        assert sent["Server"] == "review"
        assert not [name for name in sent if name.lower().startswith("access-control")]


def test_two_pages_have_two_nonces_and_two_starts_two_tokens(server, results):
    policies = {ask(server, "GET", "/")[2]["Content-Security-Policy"] for _ in range(2)}
    assert len(policies) == 2
    with served(desk(results)) as another:
        assert another.token != server.token
        assert len(another.token) >= 43  # 256 bits


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url.startswith(f"http://127.0.0.1:{server.server_port}/#")


def test_a_port_that_is_taken_is_named(server, results):
    with pytest.raises(ConfigurationError, match="E-REVIEW-PORT"):
        ReviewServer(desk(results), server.server_port)


def test_the_page_may_ask_for_cases_pictures_and_acts(server, judged, results):
    status, listed, _ = ask(server, "GET", "/api/worklist")
    assert status == 200
    assert [row["case"] for row in json.loads(listed)["cases"]] == [CASE]
    status, case, _ = ask(server, "GET", CASE_PATH)
    view = json.loads(case)["cells"][AX][2]["view"]
    status, pixels, sent = ask(server, "GET", f"{CASE_PATH}/pixels/{view['digest']}")
    assert (status, sent["Content-Type"]) == (200, "application/octet-stream")
    assert len(pixels) == 2 * view["shape"][0] * view["shape"][1] * view["shape"][2]
    assert ask(server, "GET", f"{CASE_PATH}/outlines/{view['digest']}/{view['outline']}")[0] == 200
    assert ask(server, "POST", f"{CASE_PATH}/acts", act(judged))[0] == 200
    status, answer, _ = ask(server, "POST", f"{CASE_PATH}/recompute", b"{}")
    assert status == 200
    assert json.loads(answer)["case"]["cells"][AX][2]["standing"] == "accepted"
    assert len(journal.read(results / "cases" / CASE)[0]) == 1


def test_several_questions_on_one_connection_are_answered_in_turn(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/api/worklist", headers=headers(server))
        assert json.loads(connection.getresponse().read())["cases"]
    connection.close()


def test_json_is_plain_ascii(server):
    assert ask(server, "GET", CASE_PATH)[1].isascii()


# ---- Everything else is refused

ORIGINS = [
    "https://evil.example",
    "http://localhost:{port}",
    "http://127.0.0.1",
    "null",
    "",
    "http://127.0.0.1:1",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:{port}.evil.example",
    "http://127.0.0.1:{port}/",
    "file://",
]
HOSTS = [
    "evil.example",
    "localhost:{port}",
    "127.0.0.1",
    "127.0.0.1:1",
    "",
    "127.0.0.1:{port}.evil.example",
    "evil.example:{port}",
    "[::1]:{port}",
    "0.0.0.0:{port}",
    "127.1:{port}",
    "127.0.0.1:{port}@evil.example",
    None,
]
SITES = ["cross-site", "same-site", "none", "", "same-origin, cross-site", "SAME-ORIGIN"]
TOKENS = [None, "", "x", "{token}x", "{short}", "Bearer {token}", "é", "{token} "]
PATHS = [
    "/identities.csv",
    "/results/identities.csv",
    "/../secret.txt",
    "/../../etc/passwd",
    "/api/../../secret.txt",
    "/api/cases/..",
    "/api/cases/../..",
    "/api/cases/%2e%2e",
    "/api/cases/..%2f..%2fsecret.txt",
    "/api/cases/.",
    f"{CASE_PATH}/",
    f"{CASE_PATH}/../{CASE}",
    f"{CASE_PATH}/case.json",
    f"{CASE_PATH}/journal.jsonl",
    f"{CASE_PATH}/pixels/../../../identities.csv",
    f"{CASE_PATH}/pixels/" + "G" * 64,
    f"{CASE_PATH}/pixels/" + "0" * 63,
    f"{CASE_PATH}/pixels/" + "0" * 64,
    f"{CASE_PATH}/outlines/" + "0" * 64,
    f"{CASE_PATH}?x=1",
    "/?token=1",
    "//evil.example/",
    "/api//worklist",
    "/API/worklist",
    "/api/worklist/",
    "/api/worklist%00",
    "/api/worklist;x",
    "http://evil.example/",
    "/review.js",
    "/page.html",
    "/favicon.ico",
    "/.git/config",
    "/api/cases/" + "x" * 81,
    "/api/cases/unknown",
    "*",
    "/api/cases/CON",
    "/api/cases/-",
    "/" + "a" * 70000,
]
METHODS = ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "POST"]


def filled(text, server):
    if text is None:
        return None
    return text.format(port=server.server_port, token=server.token, short=server.token[:-1])


def assert_refused(answer):
    status, content, _ = answer
    assert 400 <= status < 500, (status, content[:80])
    assert SECRET.encode() not in content
    assert CASE.encode() not in content


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_refused(host, server):
    assert_refused(ask(server, "GET", "/api/worklist", Host=filled(host, server)))
    assert_refused(ask(server, "GET", "/", Host=filled(host, server)))


@pytest.mark.parametrize("origin", ORIGINS)
def test_another_origin_is_refused(origin, server, judged):
    assert_refused(ask(server, "GET", "/api/worklist", Origin=filled(origin, server)))
    assert_refused(ask(server, "POST", f"{CASE_PATH}/acts", act(judged), Origin=filled(origin, server)))


def test_an_act_without_an_origin_is_refused(server, judged):
    assert_refused(ask(server, "POST", f"{CASE_PATH}/acts", act(judged), Origin=None))


@pytest.mark.parametrize("site", SITES)
def test_a_request_of_another_site_is_refused(site, server, judged):
    assert_refused(ask(server, "GET", "/api/worklist", **{"Sec-Fetch-Site": site}))
    assert_refused(ask(server, "POST", f"{CASE_PATH}/acts", act(judged), **{"Sec-Fetch-Site": site}))


@pytest.mark.parametrize("token", TOKENS)
def test_without_the_token_nothing_is_told_and_nothing_done(token, server, judged):
    wrong = {TOKEN_HEADER: token if token is None else filled(token, server).encode("utf-8")}
    if token == "{token} ":
        wrong = {TOKEN_HEADER: filled("{token}\t x", server)}
    assert_refused(ask(server, "GET", "/api/worklist", **wrong))
    assert_refused(ask(server, "GET", CASE_PATH, **wrong))
    assert_refused(ask(server, "POST", f"{CASE_PATH}/acts", act(judged), **wrong))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_a_path_that_is_not_one_of_ours_is_refused(path, server):
    status, content, _ = ask(server, "GET", path)
    assert 400 <= status < 500
    assert SECRET.encode() not in content


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_not_one_of_ours_is_refused(method, server):
    status, content, _ = ask(server, method, "/api/worklist", b"{}" if method == "POST" else None)
    assert status in (405, 501)
    assert SECRET.encode() not in content


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site", TOKEN_HEADER])
def test_a_header_sent_twice_is_refused(name, server):
    own = headers(server)[name]
    assert_refused(ask(server, "GET", "/api/worklist", **{name: [own, own]}))
    assert_refused(ask(server, "GET", "/api/worklist", **{name: [own, "x"]}))


@pytest.mark.parametrize(
    "changes",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-7"},
        {"Content-Type": None},
        {"Content-Length": None},
        {"Content-Length": "-1"},
        {"Content-Length": "+5"},
        {"Content-Length": "0x10"},
        {"Content-Length": "5, 5"},
        {"Content-Length": ["5", "6"]},
        {"Content-Length": str(REQUEST_BYTES + 1)},
        {"Content-Length": "9" * 30},
        {"Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": "gzip", "Content-Length": None},
    ],
)
def test_a_body_we_cannot_be_sure_of_is_refused(changes, server, judged):
    assert_refused(ask(server, "POST", f"{CASE_PATH}/acts", act(judged), **changes))


def test_a_question_with_a_body_is_refused(server):
    assert_refused(ask(server, "GET", "/api/worklist", b"{}"))


NESTED = b"[" * 100_000
BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"accept"',
    b"\xff\xfe",
    b"\x00",
    NESTED,
    b'{"act":' * 5000,
    b'{"act":"erase","visit":0}',
    b'{"act":"accept"}',
    b'{"act":"accept","visit":-1,"lesion":1}',
    b'{"act":"accept","visit":"2","lesion":1}',
    b'{"act":"accept","visit":2.5,"lesion":1}',
    b'{"act":"accept","visit":1e400,"lesion":1}',
    b'{"act":"accept","visit":99999999999999999999,"lesion":1}',
    b'{"act":"accept","visit":2,"lesion":1,"judged":"../../etc/passwd"}',
    b'{"act":"accept","visit":2,"lesion":1,"reader":"Dr Eve"}',
    b'{"act":"accept","visit":2,"lesion":1,"time":"1999-01-01"}',
    b'{"act":"accept","visit":2,"lesion":1,"previous":"0"}',
    b'{"act":"accept","visit":2,"lesion":1,"comment":"' + b"x" * 2001 + b'"}',
    b'{"act":"accept","visit":2,"lesion":1,"comment":"\\ud800"}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","points_lps":[[NaN,0,0],[1,1,1]],"quantity":"longest_diameter"}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","points_lps":[[1,2],[3,4]],"quantity":"longest_diameter"}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","points_lps":[[1,2,3],[4,5,6]],"quantity":"volume"}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","uploaded":{"format":".py","content":"","series":0}}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","uploaded":{"format":"../x.nii","content":"","series":0}}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","uploaded":{"format":".nii","content":"%%%","series":0}}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","uploaded":{"format":".nii","content":"","series":-1}}',
    b'{"act":"adjust","visit":2,"lesion":1,"comment":"x","painted":{"view":"x","bits":""}}',
    b'{"act":"add","visit":2,"name":"' + b"n" * 65 + b'","kind":"bone","comment":"x"}',
    b'{"act":"add","visit":2,"name":"n","kind":"liver","comment":"x"}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_an_act_that_is_none_is_refused_without_repeating_it(body, server, results):
    before = (
        (results / "cases" / CASE / "journal.jsonl").read_bytes() if journal.read(results / "cases" / CASE)[0] else b""
    )
    status, content, _ = ask(server, "POST", f"{CASE_PATH}/acts", body)
    assert status in (400, 409, 422), (status, content)
    assert not any(word in content for word in (b"passwd", b"Dr Eve", b"nnnn", b"xxxx"))
    path = results / "cases" / CASE / "journal.jsonl"
    assert (path.read_bytes() if path.exists() else b"") == before


def raw(server, content):
    """What the server says to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /api/worklist\r\n\r\n",
        b"GET /api/worklist HTTP/9.9\r\n\r\n",
        b"GET /api/worklist HTTP/1.0\r\n\r\n",
        b"GET /api/worklist HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /api/worklist HTTP/1.1\r\nHost : {host}\r\n\r\n",
        b"GET /api/worklist HTTP/1.1\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /api/worklist HTTP/1.1\r\nHost: {host}\r\n X-Review-Token: {token}\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    ],
    ids=range(13),
)
def test_bytes_that_are_no_request_of_ours_tell_nothing(content, server):
    content = content.replace(b"{host}", server.host.encode()).replace(b"{token}", server.token.encode())
    answer = raw(server, content)
    assert b" 200 " not in answer[:20]
    assert CASE.encode() not in answer
    assert ask(server, "GET", "/api/worklist")[0] == 200


def test_a_request_hidden_behind_another_is_not_answered(server):
    inner = f"GET /api/worklist HTTP/1.1\r\nHost: {server.host}\r\n{TOKEN_HEADER}: {server.token}\r\n\r\n".encode()
    outer = f"POST /api/worklist HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
    answer = raw(server, outer + inner)
    assert answer.count(b"HTTP/1.1") == 1
    assert CASE.encode() not in answer

import errno
import http.client
import json
import os
import socket
import struct
import threading
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from omniup.cli import main
from omniup.web import Settings, create_app
from omniup.web.jobs import Job
from support.demo import SMALL, client_of, encoded, fields, noise, npy, post_run, run

# starlette leaves the files of parts that are cut short to be closed when they are collected
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

UPLOAD = 2**18
BODY = 2 * UPLOAD + 2**20
SECURITY = {"content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy"}


@pytest.fixture(scope="module")
def client():
    """A server in this process, whose exceptions are raised here."""
    limits = {"upload_bytes": UPLOAD, "pixels": 2**20, "queue": 2, "patience": 0}
    with TestClient(create_app(Settings(hosts=(), offline=True, **limits))) as client:
        yield client


@pytest.fixture(scope="module")
def remote(server):
    with client_of(server) as client:
        yield client


@pytest.fixture
def full(client):
    """The queue is full while the test runs."""
    done, running = threading.Event(), threading.Event()
    jobs = client.app.state.service.jobs

    def block(_):
        running.set()
        done.wait(30)

    (device, worker), submitted = next(iter(jobs.workers.items())), []
    for _ in range(1 + worker.capacity):
        with worker.place():
            submitted.append(Job(uuid4(), block))
            jobs.submit(submitted[-1], device)
        assert running.wait(10)
    yield
    done.set()
    for job in submitted:
        job.future.result(10)


@pytest.fixture(scope="module")
def tiny():
    return encoded(noise(20, 30))


def png_header(width, height, *, data=b""):
    """A PNG that declares a size, and holds what it likes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# ---- uploads


def test_an_upload_at_the_limit_is_read_and_one_beyond_is_refused(client, tiny):
    padded = tiny + bytes(UPLOAD - len(tiny))
    assert post_run(client, padded, **SMALL).status_code == 200
    answer = post_run(client, padded + b"\0", **SMALL)
    assert fields(answer) == {"image"}
    assert str(UPLOAD) in answer.text
    files = {"image": tiny, "signal": bytes(UPLOAD + 1)}
    assert fields(client.post("/api/upsample", files=files)) == {"signal"}


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"hello, world",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html><script>alert(1)</script></html>",
        b"%PDF-1.7",
        bytes(1000),
        encoded(noise(64, 64))[:1000],
        encoded(noise(64, 64))[:-200],
        encoded(noise(64, 64), "JPEG")[:300],
        png_header(30_000, 30_000),
        png_header(2**31 - 1, 2**31 - 1),
        png_header(1025, 1024, data=zlib.compress(bytes(1025 * 3 * 1025))),
        png_header(0, 5),
        png_header(5, 5),
        npy(Image.new("L", (3, 3))),
    ],
    ids=lambda image: f"{len(image)} bytes",
)
def test_what_is_no_picture_is_refused(client, image):
    answer = post_run(client, image, **SMALL)
    assert fields(answer) == {"image"}
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text


def test_pixels_are_counted_before_they_are_decoded(client):
    bomb = encoded(Image.new("RGB", (8000, 8000)))  # 192 MB in less than the limit of an upload
    assert len(bomb) < UPLOAD
    answer = post_run(client, bomb)
    assert fields(answer) == {"image"}
    assert str(2**20) in answer.text


def test_an_archive_that_unpacks_to_more_than_is_accepted_is_refused(client, tiny):
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as entry:
        declared = {"descr": "<f4", "fortran_order": False, "shape": (1, 16384, 1024)}
        np.lib.format.write_array_header_1_0(entry, declared)
        for _ in range(64):
            entry.write(bytes(2**20))
    assert len(file.getvalue()) < UPLOAD
    answer = client.post("/api/upsample", files={"image": tiny, "signal": file.getvalue()})
    assert fields(answer) == {"signal"}


@pytest.mark.parametrize("missing", ["image", "signal"])
def test_a_missing_file_is_named(client, tiny, missing):
    files = {"image": tiny, "signal": npy([[1.0]])}
    del files[missing]
    assert fields(client.post("/api/upsample", files=files)) == {missing}
    assert fields(client.post("/api/run", data={"config": "{}"})) == {"image"}
    assert fields(client.post("/api/run", data={"image": "text"})) == {"image"}


@pytest.mark.parametrize(
    "config",
    [
        *("{", "nothing", "[]", "1", '"{}"', "{'size': 64}", '{"size": 64}{}', "null x", "\x00"),
        *("[" * 100_000, '{"a":' * 50_000, '{"size": 1e999}', '{"size": NaN}', '{"lr": Infinity}'),
        '{"run_id": "../../etc/passwd"}',
    ],
    ids=lambda config: config[:20],
)
def test_a_config_that_is_none_is_refused(client, tiny, config):
    for path, files in (("/api/run", {"image": tiny}), ("/api/upsample", {"image": tiny, "signal": npy([[1.0]])})):
        answer = client.post(path, files=files, data={"config": config})
        named = fields(answer)
        assert all(name.startswith("config") for name in named)


def test_no_config_is_the_default(client, tiny):
    assert client.post("/api/run", files={"image": tiny}).json()["meta"]["iters"] == 50


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary="),
        (b"--a", "multipart/form-data; boundary=a"),
        (
            b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\ncut',
            "multipart/form-data; boundary=a",
        ),
        (b"--b\r\n\r\n--b--", "multipart/form-data; boundary=a"),
        (b"--a\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a--", "multipart/form-data; boundary=a"),
        (b"{}", "application/json"),
        (b"image=a&config={}", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "text/plain"),
        (b"", ""),
        (b"x", "multipart/form-data; boundary=" + "a" * 5000),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_no_form_is_refused(client, content, kind):
    for path in ("/api/run", "/api/upsample"):
        answer = client.post(path, content=content, headers={"Content-Type": kind} if kind else {})
        assert answer.status_code in (400, 422)
        assert answer.json()["detail"]


def test_forms_of_many_parts_are_refused(client, tiny):
    answer = client.post("/api/run", files={"image": tiny}, data={f"a{i}": "b" for i in range(2000)})
    assert answer.status_code == 400
    answer = client.post("/api/run", files={"image": tiny}, data={"config": " " * (2**20 + 1) + "{}"})
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff{", b'{"\\ud800": 1}', b"null", b"[]", b'{"x": NaN}'],
)
def test_a_body_that_is_no_json_is_refused(client, content):
    answer = client.post("/api/similarity", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


# ---- bodies without end


def test_a_declared_body_beyond_the_limit_is_refused_unread(client):
    assert client.post("/api/run", content=bytes(BODY + 1)).status_code == 413


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/run", "multipart/form-data; boundary=a"),
        ("/api/upsample", "multipart/form-data; boundary=a"),
        ("/api/run", "application/x-www-form-urlencoded"),
        ("/api/similarity", "application/json"),
        ("/api/similarity", "text/plain"),
    ],
)
def test_an_undeclared_body_beyond_the_limit_is_refused(client, path, kind):
    def endless():
        yield b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(BODY // 2**16 + 2):
            yield bytes(2**16)

    answer = client.post(path, content=endless(), headers={"Content-Type": kind})
    assert answer.status_code == 413
    assert str(BODY) in answer.json()["detail"]


def test_a_large_body_in_chunks_is_cut_short(server):
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        head = f"POST /api/run HTTP/1.1\r\nHost: {where.netloc}\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=a\r\n\r\n")
        start = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        try:
            for _ in range(200):
                connection.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
        except OSError:  # it does not listen any more
            pass
        else:
            raise AssertionError("the server took 200 MB")
        with suppress(ConnectionError):  # the system may throw the answer away with what was not read
            assert b" 413 " in connection.recv(100)


def test_a_declared_length_beyond_the_limit_is_refused_before_it_comes(server):
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    for length in (2**27, 2**62):
        connection.putrequest("POST", "/api/run")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        connection.close()


# ---- the queue


def test_a_full_queue_asks_to_come_back_later(client, tiny, full):
    for _ in range(2):
        answer = post_run(client, tiny, **SMALL)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "full" in answer.json()["detail"]
    files = {"image": tiny, "signal": npy([[1.0]])}
    assert client.post("/api/upsample", files=files).status_code == 503
    assert client.get("/api/health").json()["waiting"] == 2


def test_a_full_queue_does_not_stop_the_rest(client, full):
    for path in ("/", "/api/health", "/api/options", "/api/samples/coffee?size=64"):
        assert client.get(path).status_code == 200


def test_a_refused_run_leaves_its_place_and_its_id(client, tiny):
    run_id = str(uuid4())
    for _ in range(5):
        assert post_run(client, b"text", run_id=run_id).status_code == 422
    assert run(client, tiny, run_id=run_id, **SMALL)["run_id"] == run_id


# ---- who may ask


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://127.0.0.1.evil.example",
        "",
        "http://[::1",
        "//",
        "a b",
        "file://",
        "http://evil.example@HOST",
        "http://HOST.evil.example",
        "http://HOST:80",
    ],
)
def test_pages_of_other_sites_are_refused(remote, server, photo, origin):
    headers = {"Origin": origin.replace("HOST", urlsplit(server.url).netloc)}
    assert remote.get("/api/health", headers=headers).status_code == 403
    assert remote.post("/api/run", files={"image": photo}, headers=headers).status_code == 403
    preflight = remote.options("/api/run", headers=headers | {"Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 403


def test_the_own_page_is_served(remote, server):
    assert remote.get("/api/health", headers={"Origin": server.url}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]", "0.0.0.0", "[", "[::1"]
)
def test_other_names_are_refused(remote, host):
    answer = remote.get("/api/health", headers={"Host": host})
    assert answer.status_code == 403
    assert "accepted: localhost" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:80", "[::1]", "[::1]:8000", "LOCALHOST"])
def test_own_names_are_served(remote, host):
    assert remote.get("/api/health", headers={"Host": host}).status_code == 200


# ---- what browsers are told


def test_pages_of_named_sites_may_show_the_page_in_a_frame():
    settings = Settings(hosts=(), frame_ancestors=("https://example.org", "https://example.com"))
    with TestClient(create_app(settings)) as client:
        policy = client.get("/").headers["content-security-policy"]
    assert policy.endswith("frame-ancestors https://example.org https://example.com")


@pytest.mark.parametrize("origin", ["*", "example.org", "https://example.org; script-src *", "https://a b", "'self'"])
def test_what_is_no_site_may_not(origin, capsys):
    with pytest.raises(SystemExit) as left:
        main(["serve", "--frame-ancestor", origin])
    assert left.value.code == 2
    assert "accepted: a site, such as https://example.org" in capsys.readouterr().err


def check_headers(answer):
    assert answer.headers.keys() >= SECURITY, answer.request.url
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert not any("unsafe" in value or "http" in value or "*" in value for value in policy.values())
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert "server" not in answer.headers or "/" not in answer.headers["server"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/static/index.html", 200),
        ("/static/missing.js", 404),
        ("/openapi.json", 200),
        ("/api/health", 200),
        ("/api/options", 200),
        ("/api/samples/coffee?size=16", 200),
        ("/api/samples/coffee?size=15", 422),
        ("/api/samples/nobody", 404),
        ("/api/run", 405),
        ("/api/progress/mine", 422),
        (f"/api/progress/{UUID(int=0)}", 404),
        (f"/api/runs/{UUID(int=0)}/files/result.npy", 404),
        ("/nowhere", 404),
    ],
)
def test_every_answer_has_the_headers(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    check_headers(answer)


def test_every_answer_to_a_post_has_the_headers(client, tiny, full):
    for answer in (
        post_run(client, tiny),
        post_run(client, tiny, size=1),
        client.post("/api/run", content=bytes(BODY + 1)),
        client.post("/api/similarity", json={"run_id": str(uuid4()), "x": 0, "y": 0}),
        client.delete(f"/api/runs/{uuid4()}"),
    ):
        check_headers(answer)


def test_files_of_a_run_have_the_headers(client, tiny):
    answer = run(client, tiny, **SMALL, return_files=True)
    for url in answer["files"].values():
        check_headers(client.get(url))
    with client.stream("GET", f"/api/progress/{answer['run_id']}") as progress:
        check_headers(progress)


def test_refusals_at_the_door_have_the_headers(remote):
    check_headers(remote.get("/api/health", headers={"Host": "evil.example"}))
    check_headers(remote.get("/api/health", headers={"Origin": "https://evil.example"}))


def test_no_page_loads_anything_from_another_host(client):
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status_code == 404
    page = client.get("/").text
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_what_was_sent_is_not_sent_back(client, tiny):
    answer = client.post("/api/run", files={"image": tiny}, data={"config": '{"size": "<script>secret</script>"}'})
    assert fields(answer) == {"config.size"}
    assert "secret" not in answer.text


# ---- paths

SECRETS = (b"root:", b"def create_app", b"[build-system]", b"SECURITY")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/" + "..%2f" * 12 + "etc/passwd",
        "/static/" + "../" * 12 + "etc/passwd",
        "/static/index.html%00.js",
        "/static/%00",
        "/static/" + "a" * 5000,
        "//etc/passwd",
        "/../../../etc/passwd",
        "/etc/passwd",
        "/api/samples/..%2f..%2f..%2fpyproject.toml",
        "/api/samples/%2fetc%2fpasswd",
        "/api/samples/coffee%00",
        "/api/samples/coffee.jpg",
        "/api/runs/RUN/files/..%2fresult.npy",
        "/api/runs/RUN/files/..%2fRUN%2fimage_lr.npy",
        "/api/runs/RUN/files/.%2fimage_lr.npy",
        "/api/runs/RUN/files/%2fetc%2fpasswd",
        "/api/runs/RUN/files/../image_lr.npy",
        "/api/runs/RUN/files/image_lr.npy%00",
        "/api/runs/RUN/files/",
        "/api/runs/RUN/files/IMAGE_LR.NPY",
        "/api/runs/..%2f../files/image_lr.npy",
        "/api/runs/%2e%2e/files/image_lr.npy",
        "/api/progress/..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_path_leads_outside(server, kept, path):
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.putrequest("GET", path.replace("RUN", kept), skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (400, 404, 422)
    assert not any(secret in body for secret in SECRETS)
    assert len(body) < 2000


@pytest.fixture(scope="module")
def kept(remote, photo):
    """The id of a run that has files."""
    answer = run(remote, photo, **SMALL)
    assert remote.get(answer["files"]["image_lr.npy"]).status_code == 200
    return answer["run_id"]


def test_names_of_uploads_lead_nowhere(client, tmp_path, tiny):
    name = str(tmp_path / "written.png")
    files = {"image": ("../../../" + name, tiny), "signal": (name, npy([[1.0]]))}
    answer = client.post("/api/upsample", files=files, data={"config": json.dumps({"method": "nearest", "name": None})})
    assert answer.status_code == 200
    assert list(tmp_path.iterdir()) == []
    files["image"] = ("/etc/passwd", b"")
    assert fields(client.post("/api/upsample", files=files)) == {"image"}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8765@evil.com",
        "127.0.0.1:@evil.com",
        "localhost:80:90",
        "localhost:",
        "localhost/a",
        "localhost:8a",
        "[::1]x",
        "[::1]:1@evil.com",
        "user@localhost",
        "localhost:123456",
    ],
)
def test_what_only_begins_with_an_own_name_is_refused(remote, host):
    assert remote.get("/api/health", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_a_request_of_another_site_without_an_origin_is_refused(remote, photo, site):
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert remote.post("/api/run", files={"image": photo}, headers=headers).status_code == 403
    assert remote.delete(f"/api/runs/{uuid4()}", headers=headers).status_code == 403
    assert remote.get("/api/health", headers=headers).status_code == 403
    headers["Sec-Fetch-Mode"] = "navigate"
    assert remote.post("/api/run", files={"image": photo}, headers=headers).status_code == 403
    answer = remote.get("/api/health", headers={"Sec-Fetch-Site": site})
    assert answer.json()["argument"] == "Sec-Fetch-Site"


def test_links_from_other_sites_and_the_own_page_are_served(remote, server):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert remote.get("/", headers=link).status_code == 200
    for headers in ({"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin", "Origin": server.url}, {}):
        assert remote.delete(f"/api/runs/{uuid4()}", headers=headers).status_code == 404


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_gets_its_answer(server, chunked):
    where, size = urlsplit(server.url), 70 * 2**20  # the server accepts 65 MB
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    start = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    content = (start if n == 0 else bytes(2**20) for n in range(71)) if chunked else bytes(size)
    headers = {"Content-Type": "multipart/form-data; boundary=a"} | ({} if chunked else {"Content-Length": str(size)})
    connection.request("POST", "/api/run", body=content, headers=headers, encode_chunked=chunked)  # sends all of it
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["argument"] == "the request"
    connection.close()


def test_an_offline_server_asks_nobody_for_weights(client, tiny, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda url, **_: asked.append(url))
    config = json.dumps({"method": "anyup"})
    files = {"image": tiny, "signal": npy(np.zeros((4, 2, 3), np.float32))}
    answer = client.post("/api/upsample", files=files, data={"config": config})
    assert answer.status_code == 422
    assert "offline" in answer.text
    assert asked == []
    assert not (tmp_path / "checkpoints").exists()


def test_a_full_disk_is_the_server_s_and_nothing_is_kept_on_it(client, tiny, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = client.get("/api/health").json()["kept_runs"]
    detail = "the server cannot keep the result (No space left on device)"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = post_run(client, tiny, **SMALL, return_files=True)
        assert (answer.status_code, answer.json()["detail"]) == (507, detail)
        assert client.get("/api/health").json()["kept_runs"] == kept
    files = run(client, tiny, **SMALL)["files"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = client.get(files["features_gsjbu.npy"])
        assert (answer.status_code, answer.json()["detail"]) == (507, detail)
    assert client.get(files["features_gsjbu.npy"]).status_code == 200

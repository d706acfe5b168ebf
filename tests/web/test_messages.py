"""Every refusal of the server is data, and a sentence in the reader's language."""

import ast
import json
import re
from pathlib import Path
from string import Formatter
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

import omniup
from omniup.errors import InputError
from omniup.upsamplers.layouts import find_reading
from omniup.web import Settings, create_app
from omniup.web.language import ARGUMENTS, LANGUAGE, PYDANTIC, TEMPLATES, choose_language, parts, said
from omniup.web.language import texts as texts_of
from omniup.web.schemas import RestoreConfig, RunConfig, SimilarityRequest, UpsampleConfig
from support.demo import SMALL, encoded, noise, npy, post_run, post_upsample
from support.templates import templates

PACKAGE = Path(omniup.__file__).parent
ROOMS = ("files", "upsamplers", "mixing", "encoders", "restoration", "reconstruction", "visualize", "web")
"""What the server may call, and so what it may have to translate."""

FILES = [
    PACKAGE / "errors.py",
    *(
        path
        for room in ROOMS
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if path != PACKAGE / "files" / "settings.py"  # no request reads settings in YAML
    ),
]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENGLISH_WORDS = re.compile(r"\b(is|are|has|accepted|should|must|the|of|and|or|no|not|more than|less than)\b")


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(hosts=(), offline=True, upload_bytes=2**18, patience=0))) as client:
        yield client


@pytest.fixture
def chinese():
    token = LANGUAGE.set("zh")
    yield
    LANGUAGE.reset(token)


def gaps(template):
    """The names, conversions and formats of a template's replacement fields, in any order."""
    return sorted(
        (name, conversion or "", spec or "")
        for _, name, spec, conversion in Formatter().parse(template)
        if name is not None
    )


# ---- the catalogue


def test_every_refusal_names_its_argument_apart_from_the_problem():
    for path in FILES:
        for call in (each for each in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(each, ast.Call)):
            name = getattr(call.func, "id", "")
            if name in ("InputError", "MissingPackageError", "FieldError", "RequestError"):
                assert len(call.args) >= 2, f"{path}:{call.lineno}"


def test_every_template_has_a_translation_with_the_same_gaps():
    found = templates(FILES)
    assert len(found) > 150
    missing = {template: place for template, place in found.items() if template not in TEMPLATES}
    assert missing == {}
    assert {template for template in found if gaps(template) != gaps(TEMPLATES[template])} == set()


def test_what_has_words_is_translated():
    for english, translation in {**TEMPLATES, **ARGUMENTS}.items():
        words = re.sub(r"\{[^}]*\}|`[^`]*`", "", english)
        if ENGLISH_WORDS.search(words):
            assert CHINESE.search(translation), english


@pytest.mark.parametrize("model", [RunConfig, UpsampleConfig, RestoreConfig, SimilarityRequest])
@given(data=st.data())
def test_whatever_pydantic_says_of_a_request_is_translated(model, data):
    name = data.draw(st.sampled_from([*model.model_fields, "unknown"]))
    values = [None, "x", "x" * 3000, "1.5", 1.5, 10**400, -(10**6), 10**6, float("nan"), float("inf"), True, [], {}]
    value = data.draw(st.sampled_from([*values, [1], {"a" * 99: 1}, dict.fromkeys(map(str, range(99)))]))
    for check in (
        lambda: model.model_validate({name: value}),
        lambda: model.model_validate_json(json.dumps({name: value})),
        lambda: model.model_validate(value),
    ):
        try:
            check()
        except ValidationError as error:
            for found in error.errors():
                if not isinstance(found.get("ctx", {}).get("error"), InputError):
                    PYDANTIC[found["type"]].format(**found.get("ctx", {}))


# ---- languages


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh", "zh"),
        ("ZH-hant-TW", "zh"),
        ("en, zh;q=0.9", "en"),
        ("en;q=0.2, zh;q=0.3", "zh"),
        ("de, zh;q=0.5, *;q=0.1", "zh"),
        ("zh;q=0", "en"),
        ("zhu", "en"),
        ("", "en"),
        ("*", "en"),
        (",;q=,zh;q=x", "zh"),
        ("de", "en"),
    ],
)
def test_the_language_that_weighs_most(header, language):
    assert choose_language(header) == language


def test_a_sentence_and_its_parts(chinese):
    error = InputError("radius", "is {value!r}", "whole numbers from {low:g} to {high:g}", value=99, low=0, high=16)
    assert said(error) == "radius 为 99；可接受：从 0 到 16 的整数"
    assert parts(error) == {"argument": "radius", "problem": "为 99", "accepted": "从 0 到 16 的整数"}
    assert said(InputError("image", "is empty")) == "图像为空"
    assert str(error) == "radius is 99; accepted: whole numbers from 0 to 16"


def test_what_a_library_says_in_english_is_apart():
    cause = OSError("cannot identify image file in any way")
    error = InputError("image", "cannot be read ({reason})", reason=cause)
    assert texts_of(error) == {
        "en": "image cannot be read (cannot identify image file in any way)",
        "zh": "图像无法读取（原因见英文详情）",
        "details": "cannot identify image file in any way",
    }
    outer = InputError("weights", "cannot be had ({reason})", reason=InputError("image", "is empty"))
    assert texts_of(outer)["zh"] == "权重无法使用（图像为空）"


def test_readings_of_an_array_are_translated():
    with pytest.raises(InputError) as refused:
        find_reading((16, 24, 16), (64, 96))
    assert texts_of(refused.value)["zh"] == (
        "信号的形状为 [16, 24, 16]，可读作通道在前（24 × 16 格）或通道在后（16 × 24 格）；"
        "可接受：用 `layout` 或 `grid` 说明读法"
    )


def test_a_space_stands_between_chinese_and_latin():
    """As typographers have it; where a gap may be filled by either, the value's own translation decides."""
    letter, ideograph, mark = "[A-Za-z0-9]", "[\u4e00-\u9fff]", "[,;:!?()]"
    wrong = re.compile(f"{letter}{ideograph}|{ideograph}{letter}|{ideograph}{mark}|{mark}{ideograph}")
    spaced = re.compile(" [，。；：！？（）]|[，。；：！？（）] ")
    for texts in (*ARGUMENTS.values(), *TEMPLATES.values(), *PYDANTIC.values()):
        plain = re.sub(r"`[^`]*`", "x ", re.sub(r"\{[^}]*\}", "", texts))
        assert not wrong.search(plain), texts
        assert not spaced.search(texts), texts


# ---- answers


def refusals(client, language):
    """One answer of each way in which the server refuses."""
    headers = {"Accept-Language": language}
    photo, signal = encoded(noise(20, 30)), npy([[1.0]])
    post = client.post
    config = lambda **settings: {"config": json.dumps(settings)}  # noqa: E731
    missing = str(uuid4())
    similar = {"run_id": missing, "x": 0, "y": 0}
    return {
        "image": post("/api/run", files={"image": b"no picture"}, headers=headers),
        "size": post("/api/run", files={"image": photo}, data=config(size=1), headers=headers),
        "choice": post("/api/run", files={"image": photo}, data=config(shape="round"), headers=headers),
        "work": post(
            "/api/run", files={"image": photo}, data=config(size=1024, radius=8, iters=100, stride=4), headers=headers
        ),
        "unknown field": post("/api/run", files={"image": photo}, data=config(colour=1), headers=headers),
        "json": post("/api/run", files={"image": photo}, data={"config": "{"}, headers=headers),
        "no image": post("/api/run", data={"config": "{}"}, headers=headers),
        "upload": post("/api/run", files={"image": bytes(2**18 + 1)}, headers=headers),
        "signal": post("/api/upsample", files={"image": photo, "signal": npy([[float("nan")]])}, headers=headers),
        "grid": post("/api/upsample", files={"image": photo, "signal": signal}, data=config(name="x"), headers=headers),
        "scale": post("/api/restore", files={"image": photo}, data=config(scale=9), headers=headers),
        "run": post("/api/similarity", json=similar, headers=headers),
        "deleted": client.delete(f"/api/runs/{missing}", headers=headers),
        "progress": client.get(f"/api/progress/{missing}", headers=headers),
        "file": client.get(f"/api/runs/{missing}/files/a.png", headers=headers),
        "sample": client.get("/api/samples/nobody", headers=headers),
        "path": client.get("/api/nothing", headers=headers),
        "method": client.get("/api/run", headers=headers),
        "body": post(
            "/api/run", content=b"--a", headers={**headers, "Content-Type": "multipart/form-data; boundary=a"}
        ),
        "too large": post("/api/run", content=bytes(2**22), headers=headers),
        "other site": client.get("/api/health", headers={**headers, "Origin": "https://evil.example"}),
    }


def texts(answer):
    detail = answer.json()["detail"]
    return [detail] if isinstance(detail, str) else [each["msg"] for each in detail]


def test_no_refusal_is_english_for_readers_of_chinese(client):
    for name, answer in refusals(client, "zh-CN").items():
        assert answer.status_code >= 400, name
        for text in texts(answer):
            assert CHINESE.search(text), (name, text)
            assert not ENGLISH_WORDS.search(text), (name, text)


def test_no_refusal_is_chinese_for_others(client):
    for language in ("en", "de"):
        for name, answer in refusals(client, language).items():
            assert not any(CHINESE.search(text) for text in texts(answer)), name


def test_refused_fields_come_with_their_parts(client):
    (problem,) = post_run(client, b"no picture", **SMALL).json()["detail"]
    assert problem == {
        "loc": ["body", "image"],
        "msg": "image is not in a format that is read here; accepted: "
        "an image (PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM)",
        "type": "value_error",
        "field": "image",
        "argument": "image",
        "problem": "is not in a format that is read here",
        "accepted": "an image (PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM)",
        "texts": {
            "en": problem["msg"],
            "zh": "图像的格式不受支持；可接受：图像（PNG、JPEG、WEBP、BMP、TIFF、GIF 或 PPM）",
            "details": "",
        },
    }
    (problem,) = post_run(client, encoded(noise(20, 30)), size=1).json()["detail"]
    assert (problem["field"], problem["argument"]) == ("config.size", "size")
    assert problem["problem"] == problem["msg"] == "Input should be greater than or equal to 64"
    answer = client.post("/api/similarity", json={"run_id": str(uuid4()), "x": 0, "y": 0}).json()
    assert answer["argument"] == "run_id" and answer["problem"] in answer["detail"]


def test_a_setting_of_a_method_is_named_by_its_argument(client):
    answer = post_upsample(
        client, encoded(noise(20, 30)), npy([[1.0]]), method="guided_filter", settings={"radius": 99}
    )
    (problem,) = answer.json()["detail"]
    assert problem["field"] == "config.settings.radius"


def test_what_a_thread_refuses_is_in_the_language_of_its_request(client):
    answer = client.get("/api/options", headers={"Accept-Language": "zh"}).json()
    status = answer["restoration"]
    if status["state"] == "unavailable":
        assert CHINESE.search(status["message"])
    photo = encoded(noise(20, 30))
    taken = str(uuid4())
    assert post_run(client, photo, run_id=taken, **SMALL).status_code == 200
    again = client.post(
        "/api/run",
        files={"image": photo},
        data={"config": json.dumps({"run_id": taken, **SMALL})},
        headers={"Accept-Language": "zh"},
    )
    assert again.status_code == 409
    assert "已有这个编号的运行" in again.json()["detail"]
